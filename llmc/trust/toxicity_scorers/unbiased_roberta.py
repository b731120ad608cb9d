"""Unitary's RoBERTa, trained not to take the mention of a group for toxicity, from its weights on the hub."""

from llmc.trust.machinery.toxicity_classifier import Classifier

SCORER = Classifier(
    name="unbiased_roberta",
    source="huggingface.co/unitary/unbiased-toxic-roberta, Apache-2.0",
    model="unitary/unbiased-toxic-roberta",
    label="toxicity",
    link="sigmoid",
    pinned="main",
)
