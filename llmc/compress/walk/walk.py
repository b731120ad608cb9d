"""The one loop over decoder blocks: collect statistics, compress, write, pass the new output on.

A block's weights come from the shards, its inputs from the block before, its result goes to a part on disk, and
then it is dropped. Memory is the embeddings, one block and the calibration activations, whatever the depth.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from llmc.compress.format import Format, Stored
from llmc.compress.loadable import packed_name
from llmc.compress.manifest import MatrixRecord
from llmc.compress.method import Balances, Compressed, LayerStats, Method, Needs
from llmc.compress.plan import naming
from llmc.compress.tables import Table
from llmc.compress.verify import fingerprint, save_output
from llmc.compress.walk.capture import Caller, Run, call_fingerprint, hidden_of
from llmc.compress.walk.journal import Journal
from llmc.compress.walk.live_block import LiveBlock
from llmc.compress.walk.rounded_tables import Outside, RoundedTables
from llmc.compress.walk.stats import Collector, LastInputSeen
from llmc.compress.walk.writer import ShardWriter
from llmc.errors import UserError
from llmc.models.checkpoint import torch_dtype
from llmc.models.experts import SplitExperts, split_experts
from llmc.models.layout import Matrix, check_understood, find_blocks, matrices
from llmc.models.skeleton import Skeleton
from llmc.ops.accumulate import relative_output_error

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called with (blocks done, blocks in all, what is being done)."""


@dataclass(kw_only=True)
class _Layer:
    """One matrix on its way through the stages of a block."""

    matrix: Matrix
    dense: Tensor
    """The weight that errors are measured against, (out, in)."""
    result: Compressed | None = None
    error: float | None = None
    error_tokens: int = 0
    n_tokens: int = 0
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


class Walk:
    """Compresses every block of `skeleton` with `stages` and hands the tensors to `writer`.

    `batches` are calibration token ids, (sequences, length) each; `dtype` overrides the stored dtype of what is
    written, None keeps it.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        stages: Sequence[Method],
        fmt: Format,
        writer: ShardWriter,
        journal: Journal,
        *,
        tables: Sequence[Table] = (),
        dtype: torch.dtype | None = None,
        device: str = "cpu",
        hear: Callable[[int, Any], None] | None = None,
    ) -> None:
        self._skeleton, self._stages, self._format = skeleton, tuple(stages), fmt
        self._writer, self._journal, self._dtype = writer, journal, dtype
        self.prefix, self._blocks = find_blocks(skeleton.model)
        self._device = torch.device(device)
        self._hear = hear
        self._caller = Caller(skeleton, self.prefix, self._blocks, device)
        self._tables = RoundedTables(skeleton, tables, dtype)

    @torch.no_grad()
    def run(self, batches: Sequence[Tensor], progress: Progress) -> None:
        """Walks from the first block that the journal doesn't call done to the last."""
        try:
            self._run(batches, progress)
        finally:
            self._caller.stop()

    def _run(self, batches: Sequence[Tensor], progress: Progress) -> None:
        depth = len(self._blocks)
        if self._journal.n_done == depth:
            return
        runs = self._start(batches) if batches else []
        if self._journal.n_done and runs:
            runs = self._resumed(runs, batches)
        outside = Outside() if self._journal.n_done else self._write_rest(batches)
        self._tables.drop()
        for index in range(self._journal.n_done, depth):
            progress(index, depth, "statistics")
            name = f"{self.prefix}.{index}"
            self._skeleton.fill(name + ".")
            block = self._blocks[index]
            _refuse_shared(block, name)
            split_experts(block, name)
            block.to(self._device)
            check_understood(block, name)
            layers = {m.name: _Layer(matrix=m, dense=self._stored_weight(m, index)) for m in matrices(block)}
            for number, method in enumerate(self._stages, 1):
                self._stage(index, method, layers, runs, last=number == len(self._stages))
            progress(index, depth, "writing")
            stored = self._write(index, block, layers)
            prints = self._fingerprints(index, block)
            last = index + 1 == depth
            if not last:
                progress(index, depth, "outputs")
            passed_on = runs[:1] if last else runs  # the last one's are only checked
            outputs = [self._caller.advance(index, run, last=last) for run in passed_on]
            files = self._writer.taken()
            if outputs:
                files |= save_output(self._writer.directory, index, hidden_of(outputs[0]))
            if self._hear is not None and outputs:
                self._hear(index, outputs[0])
            records = [self._record(index, layer) for layer in layers.values()]
            state = call_fingerprint(runs[0]) if runs and not last else None
            if index == 0:
                records, stored, prints = [*outside.records, *records], outside.stored | stored, outside.prints | prints
            self._journal.block_done(records, stored, prints, [] if last else outputs, state, files)
            _emptied(block)
        progress(depth, depth, "done")

    def _start(self, batches: Sequence[Tensor]) -> list[Run]:
        """A run for each batch, held before block 0; leaves the embeddings empty again."""
        head = [name for name in self._head_names() if name not in self._tied()]
        towers = self._skeleton.towers(self.prefix)
        self._skeleton.fill("", leave=[f"{self.prefix}.", *head, *towers])
        self._skeleton.fill_buffers_outside(self.prefix + ".")
        self._tables.put_embedding()
        runs = self._caller.start(batches)
        self._skeleton.empty_embeddings()
        return runs

    def _resumed(self, runs: list[Run], batches: Sequence[Tensor]) -> list[Run]:
        """The runs before the first block that isn't done; before block 0 where the blocks pass on more than is kept.

        What is kept is the last block's output. A model whose later blocks read more of the earlier ones (shared keys,
        say) starts over, which the numbers that the next block is called with tell.
        """
        why = "its blocks share more than their outputs"
        try:
            self._caller.resume(self._journal.n_done, self._journal.outputs())
            if call_fingerprint(runs[0]) == self._journal.state:
                return runs
        except Exception as error:  # what a model's own code raises where an earlier block left nothing
            why = f"{type(error).__name__}: {error}"
        logger.warning("the unfinished run can't be taken up (%s): compression starts over", why)
        self._caller.stop()
        self._journal.start_over()
        return self._start(batches)

    def _head_names(self) -> list[str]:
        head = self._skeleton.model.get_output_embeddings()
        return [
            f"{name}." for name, module in self._skeleton.model.named_modules() if head is not None and module is head
        ]

    def _tied(self) -> set[str]:
        names = getattr(self._skeleton.model, "all_tied_weights_keys", {}) or {}
        return {name.rpartition(".")[0] + "." for name in names.values()}

    def _stage(
        self, index: int, method: Method, layers: dict[str, _Layer], hidden: Sequence[Run], *, last: bool
    ) -> None:
        where = f"{self.prefix}.{index}"
        found = [layer.matrix for layer in layers.values()]
        collector = Collector(where, found, method.needs, len(hidden), abs_sum=isinstance(method, Balances))
        with collector:
            for batch in hidden:
                with contextlib.suppress(LastInputSeen):
                    self._caller(index, batch)
                collector.end_batch()
        all_stats: Mapping[str, LayerStats] = {name: collector.of(name) for name in layers}
        if isinstance(method, Balances):
            all_stats = self._balance(index, method, layers, all_stats, hidden)
        for name, layer in layers.items():
            start = time.perf_counter()
            stats = all_stats[name]
            weight = layer.matrix.weight.to(layer.dense.dtype).contiguous()
            keep = layer.result.keep if layer.result is not None else None
            with naming(f"{where}.{name}"):
                layer.result = method.compress(weight, stats, keep)
            layer.n_tokens = stats.n_tokens
            said = (*layer.result.warnings, *_coverage(layer.matrix, stats.n_tokens, method.needs))
            layer.warnings += tuple(f"{where}.{name}: {sentence}" for sentence in said)
            layer.matrix.set_weight(layer.result.weight)
            if last:
                rows = collector.rows_of(name) if stats.gram is None else None
                layer.error = relative_output_error(layer.dense, layer.result.weight, gram=stats.gram, rows=rows)
                layer.error_tokens = stats.n_tokens if rows is None else len(rows)
            layer.seconds += time.perf_counter() - start

    def _balance(
        self,
        index: int,
        method: Balances,
        layers: dict[str, _Layer],
        stats: Mapping[str, LayerStats],
        hidden: Sequence[Run],
    ) -> Mapping[str, LayerStats]:
        """Lets `method` move scales between the layers of the block; the statistics as that has left them."""
        where = f"{self.prefix}.{index}"
        trial = hidden[0]
        dense = {name: layer.dense for name, layer in layers.items()}
        live = LiveBlock(
            self._blocks[index],
            [layer.matrix for layer in layers.values()],
            dense,
            stats,
            lambda: self._caller(index, trial),
            head_dim=_head_width(self._skeleton.config),
            rounded=lambda name, tensor: self._as_stored(f"{where}.{name}", tensor),
        )
        for found in method.balance(live):
            logger.info("%s: %s", where, found)
        for name, layer in layers.items():
            layer.dense = dense[name]
        return {name: live.stats(name) for name in layers}

    def _stored_weight(self, matrix: Matrix, index: int) -> Tensor:
        """The dense weight (out, in) in the dtype that it will be written in; a `UserError` unless it is finite there.

        Asked before the block runs: a NaN in one matrix is first met as an input of another.
        """
        stored = matrix.weight.to(self._dtype or self._source_dtype(index, matrix), copy=True)
        if not _finite(stored):
            narrow = self._dtype is not None and _finite(matrix.weight)
            raise UserError(
                f"{self.prefix}.{index}.{matrix.name} holds NaN or infinity" + (f" in {self._dtype}" if narrow else ""),
                hint="leave --dtype out or use bfloat16" if narrow else "the checkpoint is damaged: get it again",
            )
        return stored.contiguous()

    def _source_dtype(self, index: int, matrix: Matrix) -> torch.dtype:
        name = f"{self.prefix}.{index}.{matrix.name}.weight"
        sources = self._skeleton.sources_under(name) or self._skeleton.sources_under(f"{self.prefix}.{index}.")
        found = torch_dtype(self._skeleton.checkpoint.tensors[sources[0]].dtype)
        return found if found is not None and found.is_floating_point else matrix.weight.dtype

    def _write(self, index: int, block: nn.Module, layers: dict[str, _Layer]) -> dict[str, Any]:
        """Writes the block's part; returns what the format must know of its layers."""
        where = f"{self.prefix}.{index}"
        stored: dict[str, Any] = {}
        packed: dict[str, Tensor] = {}
        plain: dict[str, Tensor] = {}
        inside: list[str] = []
        packed_names = {name: self._packed_name(index, layer) for name, layer in layers.items()}
        for module_name, module in block.named_modules():
            if isinstance(module, SplitExperts):
                inside.append(module_name + ".")
                if packed_names[f"{module_name}.{module.layer}"] is None:
                    dtype = next(layer.dense.dtype for n, layer in layers.items() if n.startswith(module_name + "."))
                    plain |= {f"{where}.{module_name}.{k}": v.to(dtype) for k, v in module.joined().items()}
        for name, tensor in block.state_dict().items():
            packed_away = name.endswith(".weight") and name.removesuffix(".weight") in layers
            if not packed_away and not name.startswith(tuple(inside)):
                plain[f"{where}.{name}"] = self._as_stored(f"{where}.{name}", tensor)
        for name, layer in layers.items():
            assert layer.result is not None
            layer_name = packed_names[name]
            if layer_name is not None:
                known = Stored.of(layer.result, layer.matrix.kind)
                self._format.refuse(layer_name, known)
                packed |= self._format.tensors(layer_name, layer.result)
                stored[layer_name] = asdict(known)
            elif not layer.matrix.expert:
                weight = layer.result.weight
                plain[f"{where}.{name}.weight"] = weight.t() if layer.matrix.transposed else weight
        self._writer.put(f"{index + 1:05d}-block", self._skeleton.stored(plain) | packed)
        return stored

    def _fingerprints(self, index: int, block: nn.Module) -> dict[str, list[int]]:
        """What tells each tensor of the block, rounded as it is stored, from any other."""
        where, dtype = f"{self.prefix}.{index}", self._skeleton.model.dtype
        tensors: dict[str, Tensor] = {}
        experts = tuple(f"{name}." for name, module in block.named_modules() if isinstance(module, SplitExperts))
        for name, module in block.named_modules():
            if isinstance(module, SplitExperts):
                tensors |= {f"{where}.{name}.{leaf}": tensor for leaf, tensor in module.joined().items()}
        for name, tensor in block.named_parameters():
            if not name.startswith(experts):
                tensors[f"{where}.{name}"] = tensor
        return {name: fingerprint(self._as_stored(name, tensor), dtype) for name, tensor in tensors.items()}

    def _packed_name(self, index: int, layer: _Layer) -> str | None:
        """The name that a matrix is packed under; None for one that is stored as a plain weight."""
        return packed_name(self._skeleton, self._format, f"{self.prefix}.{index}.{layer.matrix.name}", layer.matrix)

    def _as_stored(self, live: str, tensor: Tensor) -> Tensor:
        """`tensor` in the dtype that the checkpoint has it in, or in the one asked for."""
        source = next(iter(self._skeleton.sources_under(live)), None)
        dtype = torch_dtype(self._skeleton.checkpoint.tensors[source].dtype) if source is not None else None
        if not tensor.is_floating_point():
            return tensor
        return tensor.to(self._dtype or dtype or tensor.dtype)

    def _write_rest(self, batches: Sequence[Tensor]) -> Outside:
        """Copies everything outside the blocks as it stands: embeddings, norms, head, layers that the model lacks.

        The tables that are to be quantised are written so instead; what is to be known of them.
        """
        outside = self._tables.written(self._format, batches)
        inside = {s for i in range(len(self._blocks)) for s in self._skeleton.sources_under(f"{self.prefix}.{i}.")}
        names = [name for name in self._skeleton.checkpoint.tensors if name not in inside | outside.prints.keys()]
        tensors = self._skeleton.checkpoint.read(names)
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not _finite(tensor):
                logger.warning("%s holds NaN or infinity and is copied as it is: the checkpoint may be damaged", name)
        if self._dtype is not None:
            tensors = {n: t.to(self._dtype) if t.is_floating_point() else t for n, t in tensors.items()}
        self._writer.put("00000-rest", tensors | outside.tensors)
        return outside

    def _record(self, index: int, layer: _Layer) -> MatrixRecord:
        assert layer.result is not None
        weight, matrix = layer.result.weight, layer.matrix
        rank = None if layer.result.factors is None else layer.result.factors.left.shape[1]
        return MatrixRecord(
            name=f"{self.prefix}.{index}.{matrix.name}",
            block=index,
            kind=matrix.name,
            shape=(weight.shape[0], weight.shape[1]),
            sparsity=_zeros(weight),
            sparsity_before=_zeros(layer.dense),
            bits_per_weight=layer.result.bits_per_weight,
            relative_output_error=layer.error,
            error_over_tokens=layer.error_tokens,
            n_tokens=layer.n_tokens,
            damping=layer.result.damping,
            rank=rank,
            stored_as="dense" if self._packed_name(index, layer) is None else self._format.name,
            seconds=round(layer.seconds, 4),
            warnings=list(layer.warnings),
            bits=None if (grid := layer.result.quantised) is None else grid.bits,
            group_size=None if grid is None else grid.group_size,
        )


def _refuse_shared(block: nn.Module, where: str) -> None:
    """A `UserError` for a block with weights that the checkpoint holds only under another block's name."""
    empty = next((name for name, parameter in block.named_parameters() if parameter.is_meta), None)
    if empty is not None:
        raise UserError(
            f"{where}.{empty} is shared with another block, under whose name alone the checkpoint holds it",
            hint="llmc handles decoders whose blocks have weights of their own",
        )


def _emptied(block: nn.Module) -> None:
    """Drops a block's weights; held forwards still know the module."""
    for module in block.modules():
        module._parameters.clear()
        module._buffers.clear()
    block._modules.clear()


def _head_width(config: PretrainedConfig) -> int:
    """The usual width of a head, for a block whose attention doesn't say its own."""
    text = config.get_text_config(decoder=True)
    heads = next(
        (n for name in ("num_attention_heads", "num_heads") if isinstance(n := getattr(text, name, None), int)), 1
    )
    return max(1, int(text.hidden_size) // max(1, heads))


def _finite(tensor: Tensor) -> bool:
    """Whether every number is finite: one pass, as least and most are NaN if any is."""
    return tensor.numel() == 0 or bool(torch.stack(tensor.aminmax()).isfinite().all())


def _zeros(weight: Tensor) -> float:
    return 1 - int(weight.count_nonzero()) / weight.numel()


def _coverage(matrix: Matrix, n_tokens: int, needs: Needs) -> tuple[str, ...]:
    """A warning where the calibration saw too little of this matrix's inputs."""
    width = matrix.weight.shape[1]
    if needs == Needs.NOTHING:
        return ()
    if n_tokens == 0:
        return ("no calibration token reached this expert; its statistics are empty.",)
    if needs == Needs.GRAM and n_tokens < width:
        return (f"{n_tokens} calibration tokens for {width} inputs leave its Gram matrix singular.",)
    return ()
