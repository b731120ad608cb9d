"""A RoBERTa that tells neutral from toxic."""

from llmc.trust.machinery.toxicity_classifier import Classifier

SCORER = Classifier(
    name="roberta_toxicity",
    source="huggingface.co/s-nlp/roberta_toxicity_classifier",
    model="s-nlp/roberta_toxicity_classifier",
    label="toxic",
    link="softmax",
    pinned="main",
)
