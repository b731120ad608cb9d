"""The request engine: every answer that a model owes, with the least computation, in any order, exactly once.

It is an `lm_eval.api.model.LM`, so lm-eval's tasks run on it; our own tasks speak to `answers`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from llmc.errors import UserError
from llmc.evaluate.encoding import Encoder, window_of
from llmc.evaluate.generate import Begun, Generated, Job, Writer
from llmc.evaluate.journal import Journal
from llmc.evaluate.likelihood import Score, Target, score, target
from llmc.evaluate.network import Network
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
                fresh = [(key, answer) for key, answer in batch if key not in found]
                store(fresh)
                found.update(fresh)
        return [found[ask.key()] for ask in asks]

    def _score(
        self, asks: Mapping[str, Ask], found: Mapping[str, Answer], tick: Tick
    ) -> Iterator[list[tuple[str, Answer]]]:
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
            prompt = self.encoder.prompt(ask.context, ask.max_new_tokens)
            return _Piece(ask, (Target(prompt.tokens, 0),), prompt.overflowed)
        if ask.tokens is not None:
            if len(ask.tokens) > window + 1:
                raise UserError(f"{len(ask.tokens)} tokens don't fit a window of {window}")
            return _Piece(ask, (target(ask.tokens[:1], ask.tokens[1:], window),), False)
        if ask.continuation is not None:
            before, after = self.encoder.pair(ask.context, ask.continuation)
            return _Piece(ask, (target(before, after, window),), len(before) + len(after) > window + 1)
        windows = get_rolling_token_windows(self.encoder.encode(ask.context), self.encoder.prefix_token, window, 1)
        targets = [target(before, after, window) for before, after in map(make_disjoint_window, windows)]
        if not targets:
            raise UserError("a text without tokens has no likelihood")
        return _Piece(ask, tuple(targets), False)

    def _scored(self, piece: _Piece, scores: Sequence[Score]) -> Answer:
        if piece.ask.kind == "generate_until":
            made = self._writer().finish([scores[0].next_token], self._job(piece.ask, piece.targets[0].tokens))
            return _written(made, overflowed=piece.overflowed)
        return Answer(
            loglikelihood=finite(sum(each.loglikelihood for each in scores)),
            is_greedy=all(each.is_greedy for each in scores),
            n_tokens=sum(each.n_scored for each in piece.targets),
            overflowed=piece.overflowed,
        )

    def _write(
        self, asks: Mapping[str, Ask], found: Mapping[str, Answer], tick: Tick
    ) -> Iterator[list[tuple[str, Answer]]]:
        prompts = [self.encoder.prompt(ask.context, ask.max_new_tokens) for ask in asks.values()]
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
        return Job(tokens, ask.max_new_tokens, ask.until, ask.temperature, ask.top_p, ask.seed, ask.sample)

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
        """The conversation as one prompt."""
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-likelihood, would greedy decoding give it) of each continuation."""
        pairs = (request.args for request in requests)
        asks = [Ask(kind="loglikelihood", context=before, continuation=after) for before, after in pairs]
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
        return [answer.text or "" for answer in self._kept(asks)]


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
    """One greedy token is read off like a likelihood, and shares that computation."""
    return ask.kind == "generate_until" and not (ask.max_new_tokens == 1 and ask.temperature == 0)


def _written(made: Generated, *, overflowed: bool) -> Answer:
    return Answer(text=made.text, n_tokens=made.n_tokens, truncated=made.truncated, overflowed=overflowed)
