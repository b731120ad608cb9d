"""The request engine: every answer that a model owes, with the least computation, in any order, exactly once.

It is an `lm_eval.api.model.LM`, so lm-eval's tasks run on it; our own tasks speak to `answers`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs

from llmc.errors import UserError
from llmc.evaluate.backends.backend import THOUGHT_TOKENS
from llmc.evaluate.engine.answer_text import Generated, Job
from llmc.evaluate.engine.encoding import Encoder, Prompt, window_of
from llmc.evaluate.engine.generate import Begun, Writer
from llmc.evaluate.engine.likelihood import Score, Target, score, target
from llmc.evaluate.engine.network import Network
from llmc.evaluate.journal import Journal
from llmc.evaluate.prompting.chat import Chat
from llmc.evaluate.prompting.thoughts import open_at_end, refuse_inside_thought
from llmc.evaluate.task import Answer, Ask, finite

logger = logging.getLogger(__name__)

BATCH_TOKENS = 2048
"""Padded tokens of a batch: enough to keep two cores busy, small enough for any laptop."""
MAX_NEW_TOKENS = 256
"""Where an lm-eval task doesn't say how long an answer may be; lm-eval's own default."""

Store = Callable[[Sequence[tuple[str, Answer]]], None]
Tick = Callable[[int], None]


class _Piece(NamedTuple):
    """Targets of one request, of which a rolling one has several."""

    ask: Ask
    targets: tuple[Target, ...]
    overflowed: bool


class Engine(TemplateLM):  # type: ignore[misc]
    """Answers requests with a transformers causal model and its tokenizer.

    Answers depend on the request alone: not on the batch, the padding, the order or what else is asked, but for the
    last bits of floating point.
    """

    name = "engine"
    scores_tokens = True

    def __init__(
        self, model: Any, tokenizer: Any, *, batch_tokens: int = BATCH_TOKENS, max_length: int | None = None
    ) -> None:
        super().__init__()
        if batch_tokens < 1:
            raise UserError(f"batch_tokens must be at least 1, got {batch_tokens}")
        self.tokenizer = tokenizer
        n_ids = int(model.get_input_embeddings().weight.shape[0])
        self.encoder = Encoder(tokenizer, max_length or window_of(model.config, tokenizer), n_ids=n_ids)
        self.network = Network(model)
        self.batch_tokens = batch_tokens
        self._device = self.network.device
        self.journal: Journal | None = None
        """Where answers to lm-eval's own tasks and the tokens of unfinished ones are kept; None: nowhere."""

    def answers(
        self,
        asks: Sequence[Ask],
        *,
        known: Mapping[str, Answer] | None = None,
        store: Store = lambda batch: None,
        tick: Tick = lambda n: None,
    ) -> list[Answer]:
        """An answer to every request, in their order; the same request is computed once.

        What `known` holds by request key isn't asked again; `store` gets every finished batch, `tick` the number of
        requests settled. Batches don't depend on `known`, so an interrupted run and its continuation give together
        what one run would have given, bit for bit; but for the last bits in a cohort of generations that a kill cut.
        """
        unique = {ask.key(): ask for ask in asks}
        found = dict(known or {})
        reading = {key: ask for key, ask in unique.items() if not _is_written(ask)}
        writing = {key: ask for key, ask in unique.items() if _is_written(ask)}
        for solve, part in ((self._score, reading), (self._write, writing)):
            for batch in solve(part, found, tick):
                # What one token can't answer because it begins a thought is written after all.
                writing |= {key: unique[key] for key, answer in batch if answer is None}
                fresh = [(key, answer) for key, answer in batch if answer is not None and key not in found]
                store(fresh)
                found.update(fresh)
        return [found[ask.key()] for ask in asks]

    def _score(
        self, asks: Mapping[str, Ask], found: Mapping[str, Answer], tick: Tick
    ) -> Iterator[list[tuple[str, Answer | None]]]:
        pieces = {key: self._piece(ask) for key, ask in asks.items()}
        owners = [key for key, piece in pieces.items() for _ in piece.targets]
        targets = [each for piece in pieces.values() for each in piece.targets]
        missing = {key: len(piece.targets) for key, piece in pieces.items()}
        parts: dict[str, dict[int, Score]] = {key: {} for key in pieces}
        known = {index for index, key in enumerate(owners) if key in found}
        for batch in score(self.network, targets, self.batch_tokens, known=known, tick=tick):
            finished = []
            for index, each in batch:
                key = owners[index]
                parts[key][index] = each
                if len(parts[key]) == missing[key]:
                    in_order = [parts[key][i] for i in sorted(parts[key])]
                    finished.append((key, self._scored(pieces[key], in_order)))
            if finished:
                yield finished

    def _piece(self, ask: Ask) -> _Piece:
        window = self.encoder.max_length
        if ask.kind == "generate_until":
            prompt = self._prompt(ask)
            return _Piece(ask, (Target(prompt.tokens, 0),), prompt.overflowed)
        if ask.tokens is not None:
            if len(ask.tokens) > window + 1:
                raise UserError(f"{len(ask.tokens)} tokens don't fit a window of {window}")
            return _Piece(ask, (target(ask.tokens[: ask.n_given], ask.tokens[ask.n_given :], window),), False)
        if ask.continuation is not None:
            refuse_inside_thought(ask.context)
            before, after = self.encoder.pair(ask.context, ask.continuation, as_lm_eval=ask.as_lm_eval)
            overflowed = len(before) + len(after) > window + 1
            if overflowed and not ask.as_lm_eval:
                before = self.encoder.kept(before, max(1, window + 1 - len(after)))
            return _Piece(ask, (target(before, after, window),), overflowed)
        targets = [target(before, after, window) for before, after in self.encoder.windows(ask.context)]
        if not targets:
            raise UserError("a text without tokens has no likelihood")
        return _Piece(ask, tuple(targets), False)

    def _prompt(self, ask: Ask) -> Prompt:
        """The prompt with room behind it for the answer, and for the thought that it opens."""
        thought = self._thought_tokens(ask) if open_at_end(ask.context) else 0
        return self.encoder.prompt(ask.context, ask.max_new_tokens + thought, as_lm_eval=ask.as_lm_eval)

    def _thought_tokens(self, ask: Ask) -> int:
        """Tokens for a thought before the answer: half of what the window leaves, where that is less."""
        return min(THOUGHT_TOKENS, max(0, self.encoder.max_length - ask.max_new_tokens) // 2)

    def _scored(self, piece: _Piece, scores: Sequence[Score]) -> Answer | None:
        if piece.ask.kind == "generate_until":
            made = self._writer().text.of_one_token(scores[0].next_token, self._job(piece.ask, piece.targets[0].tokens))
            return None if made is None else _written(made, overflowed=piece.overflowed)
        return Answer(
            loglikelihood=finite(sum(each.loglikelihood for each in scores)),
            is_greedy=all(each.is_greedy for each in scores),
            n_tokens=sum(each.n_scored for each in piece.targets),
            overflowed=piece.overflowed,
        )

    def _write(
        self, asks: Mapping[str, Ask], found: Mapping[str, Answer], tick: Tick
    ) -> Iterator[list[tuple[str, Answer]]]:
        prompts = [self._prompt(ask) for ask in asks.values()]
        jobs = [self._job(ask, prompt.tokens) for ask, prompt in zip(asks.values(), prompts, strict=True)]
        keys = list(asks)
        known = {index for index, key in enumerate(keys) if key in found}
        for batch in self._writer().write(jobs, known=known, begun=self._begun(keys), tick=tick, keep=self._keep(keys)):
            yield [(keys[i], _written(made, overflowed=prompts[i].overflowed)) for i, made in batch]

    def _begun(self, keys: Sequence[str]) -> dict[int, Sequence[int]]:
        """The tokens of answers that an earlier run has begun, by the place of their request."""
        noted = {} if self.journal is None else self.journal.begun
        return {index: noted[key] for index, key in enumerate(keys) if key in noted}

    def _keep(self, keys: Sequence[str]) -> Callable[[Begun], None]:
        journal = self.journal
        if journal is None:
            return lambda under_way: None
        return lambda under_way: journal.keep({keys[index]: tokens for index, tokens in under_way.items()})

    def _writer(self) -> Writer:
        return Writer(self.network, self.encoder, self.batch_tokens)

    def _job(self, ask: Ask, tokens: tuple[int, ...]) -> Job:
        left = self.encoder.max_length - len(tokens) - ask.max_new_tokens
        return Job(
            tokens, ask.max_new_tokens, ask.until, ask.temperature, ask.top_p, ask.seed, ask.sample,
            at_once=ask.as_lm_eval,
            thought_tokens=max(0, min(self._thought_tokens(ask), left)),
            closing=open_at_end(ask.context),
        )  # fmt: skip

    def _kept(self, asks: Sequence[Ask]) -> list[Answer]:
        if self.journal is None:
            return self.answers(asks)
        return self.answers(asks, known=self.journal.known, store=self.journal.store)

    # What lm-eval asks of a model class.

    @property
    def max_length(self) -> int:
        """The window in tokens."""
        return self.encoder.max_length

    @property
    def max_gen_toks(self) -> int:
        """New tokens where a task doesn't say."""
        return MAX_NEW_TOKENS

    @property
    def eot_token_id(self) -> int:
        """The end-of-text token."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has nothing before it."""
        return self.encoder.prefix_token

    @property
    def tokenizer_name(self) -> str:
        """For lm-eval's request caches."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """The tokens of a text."""
        return self.encoder.encode(string, special=add_special_tokens)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as one prompt, asked for no thinking."""
        chat = Chat.of(self.tokenizer)
        if chat is None:
            raise UserError("the model has no chat template", hint="add --no-chat")
        return chat(chat_history) if add_generation_prompt else chat.unfinished(chat_history)

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-likelihood, would greedy decoding give it) of each continuation."""
        pairs = (request.args for request in requests)
        asks = [
            Ask(kind="loglikelihood", context=before, continuation=after, as_lm_eval=True) for before, after in pairs
        ]
        return [(_number(answer), bool(answer.is_greedy)) for answer in self._kept(asks)]

    def _loglikelihood_tokens(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
        targets = [target(before, after, self.max_length) for _, before, after in requests]
        found = dict(pair for batch in score(self.network, targets, self.batch_tokens) for pair in batch)
        return [(found[i].loglikelihood, found[i].is_greedy) for i in range(len(targets))]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of each text, in windows of the model's length."""
        asks = [Ask(kind="loglikelihood_rolling", context=request.args[0]) for request in requests]
        return [_number(answer) for answer in self._kept(asks)]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """A continuation of each prompt. Sampling is seeded by the prompt and its number among equal requests."""
        seen: dict[str, int] = {}
        asks = []
        for request in requests:
            ask = asked(request.args[0], request.args[1])
            if ask.temperature > 0 and "sample" not in request.args[1]:
                number = seen[ask.key()] = seen.get(ask.key(), -1) + 1
                ask = asked(request.args[0], {**request.args[1], "sample": number})
            asks.append(ask)
        return [answer.text or "" for answer in self._kept([replace(ask, as_lm_eval=True) for ask in asks])]


def asked(context: str, settings: Mapping[str, Any]) -> Ask:
    """The request behind an lm-eval generation; a setting that we don't have is refused, never dropped."""
    plain = dict(normalize_gen_kwargs(dict(settings), MAX_NEW_TOKENS))
    until, sampled = plain.pop("until"), plain.pop("do_sample")
    temperature = float(plain.pop("temperature", 0.0)) if sampled else 0.0
    plain.pop("temperature", None)
    known = {name: plain.pop(name) for name in ("top_p", "seed", "sample") if name in plain}
    n_new = int(plain.pop("max_gen_toks"))
    if temperature == 0:
        known = {}
        plain = {
            name: value for name, value in plain.items() if name not in ("top_k", "num_beams") or value not in (1, 0)
        }
    if plain:
        raise UserError(f"the engine has no generation setting {', '.join(sorted(plain))}", hint="try --backend hf")
    return Ask(
        kind="generate_until",
        context=context,
        until=tuple(until),
        max_new_tokens=n_new,
        temperature=temperature,
        **known,
    )


def _number(answer: Answer) -> float:
    """The log-likelihood as lm-eval wants it, which has no other word for what is no number."""
    return math.nan if answer.loglikelihood is None else answer.loglikelihood


def _is_written(ask: Ask) -> bool:
    """One greedy token is read off like a likelihood, and shares that computation; not behind a thought."""
    one = ask.max_new_tokens == 1 and ask.temperature == 0 and open_at_end(ask.context) is None
    return ask.kind == "generate_until" and not one


def _written(made: Generated, *, overflowed: bool) -> Answer:
    return Answer(text=made.text, n_tokens=made.n_tokens, truncated=made.truncated, overflowed=overflowed)
