"""The first layers of a Llama checkpoint with a head of 16 rows, as an ONNX graph for ONNX Runtime and OpenVINO."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from analyzer.bench.shapes import head_rows
from analyzer.importing.checkpoint import EMBEDDINGS, FINAL_NORM, Float32Array, LlamaCheckpoint, LlamaShape

OPSET = 17
LONGEST_PROMPT = 256


class GraphWriter:
    """Collects the nodes and constants of a graph; `int8_weights` stores matrices as int8 with a scale a column."""

    def __init__(self, *, int8_weights: bool) -> None:
        self._int8_weights = int8_weights
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def __call__(self, operator: str, *inputs: str, **attributes: object) -> str:
        """Adds a node and returns the name of its output."""
        name = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, values: Any) -> str:
        """Adds a constant and returns its name."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def linear(self, inputs: str, weight: Float32Array) -> str:
        """Adds `inputs` times the transpose of `weight` [out, in]."""
        if not self._int8_weights:
            return self("MatMul", inputs, self.constant(np.ascontiguousarray(weight.T)))
        scale = (np.abs(weight).max(axis=1) / 127).astype(np.float32)
        rounded = np.round(weight / scale[:, None]).astype(np.int8)
        columns = self.constant(np.ascontiguousarray(rounded.T))
        return self("MatMul", inputs, self("DequantizeLinear", columns, self.constant(scale), axis=1))

    def model(self, output: str, rows: int) -> Any:
        """The finished model: ids [batch, tokens] int64 to scores [batch, tokens, rows] float32."""
        ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "tokens"])
        scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", "tokens", rows])
        self._nodes.append(helper.make_node("Identity", [output], ["scores"]))
        graph = helper.make_graph(self._nodes, "llama", [ids], [scores], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = 10
        onnx.checker.check_model(model)
        return model


def build(checkpoint: LlamaCheckpoint, layers: int, *, int8_weights: bool = False) -> Any:
    """The ONNX model of the first `layers` layers."""
    graph, shape = GraphWriter(int8_weights=int8_weights), checkpoint.shape
    position = _Positions(graph, shape)
    state = graph("Gather", graph.constant(checkpoint.array(EMBEDDINGS)), "ids", axis=0)
    for index in range(layers):
        state = _layer(graph, position, shape, _weights(checkpoint, index), state)
    state = _norm(graph, state, checkpoint.array(FINAL_NORM), shape.rms_epsilon)
    rows = head_rows(layers, shape.width)
    return graph.model(graph("MatMul", state, graph.constant(rows.T.copy())), len(rows))


def _weights(checkpoint: LlamaCheckpoint, index: int) -> Callable[[str], Float32Array]:
    return lambda name: checkpoint.array(f"model.layers.{index}.{name}.weight")


class _Positions:
    """Cosines, sines and the causal mask for as many positions as the prompt has."""

    def __init__(self, graph: GraphWriter, shape: LlamaShape) -> None:
        half = np.arange(0, shape.head_width, 2) / shape.head_width
        angles = np.outer(np.arange(LONGEST_PROMPT), shape.rope_theta**-half)
        angles = np.concatenate([angles, angles], axis=1).astype(np.float32)
        mask = np.triu(np.full((LONGEST_PROMPT, LONGEST_PROMPT), -1e9, dtype=np.float32), k=1)
        zero, one, minus = (graph.constant(np.array([value])) for value in (0, 1, -1))
        length = graph("Slice", graph("Shape", "ids"), one, graph.constant(np.array([2])), zero)
        self.graph = graph
        self.half = shape.head_width // 2
        self.cosines = graph("Slice", graph.constant(np.cos(angles)), zero, length, zero)
        self.sines = graph("Slice", graph.constant(np.sin(angles)), zero, length, zero)
        rows = graph("Slice", graph.constant(mask), zero, length, zero)
        self.mask = graph("Slice", rows, zero, length, one)
        self._last = minus

    def rotate(self, heads: str) -> str:
        """Rotary embedding of [batch, heads, tokens, head width]: halves are rotated against each other."""
        graph, sizes = self.graph, self.graph.constant(np.array([self.half, self.half]))
        names = [f"{heads}_first", f"{heads}_second"]
        graph._nodes.append(helper.make_node("Split", [heads, sizes], names, axis=-1))  # noqa: SLF001 - two outputs
        turned = graph("Concat", graph("Neg", names[1]), names[0], axis=-1)
        return graph("Add", graph("Mul", heads, self.cosines), graph("Mul", turned, self.sines))


def _norm(graph: GraphWriter, state: str, gamma: Float32Array, epsilon: float) -> str:
    mean = graph("ReduceMean", graph("Mul", state, state), axes=[-1])
    root = graph("Sqrt", graph("Add", mean, graph.constant(np.float32(epsilon))))
    return graph("Mul", graph("Div", state, root), graph.constant(gamma))


def _heads(graph: GraphWriter, flat: str, count: int, width: int) -> str:
    split = graph("Reshape", flat, graph.constant(np.array([0, 0, count, width])))
    return graph("Transpose", split, perm=[0, 2, 1, 3])


def _layer(
    graph: GraphWriter, position: _Positions, shape: LlamaShape, weight: Callable[[str], Float32Array], state: str
) -> str:
    normed = _norm(graph, state, weight("input_layernorm"), shape.rms_epsilon)
    state = graph("Add", state, _attention(graph, position, shape, weight, normed))
    normed = _norm(graph, state, weight("post_attention_layernorm"), shape.rms_epsilon)
    gate = graph.linear(normed, weight("mlp.gate_proj"))
    gate = graph("Mul", gate, graph("Sigmoid", gate))
    inner = graph("Mul", gate, graph.linear(normed, weight("mlp.up_proj")))
    return graph("Add", state, graph.linear(inner, weight("mlp.down_proj")))


def _attention(
    graph: GraphWriter, position: _Positions, shape: LlamaShape, weight: Callable[[str], Float32Array], normed: str
) -> str:
    width = shape.head_width
    query = position.rotate(_heads(graph, graph.linear(normed, weight("self_attn.q_proj")), shape.heads, width))
    key = position.rotate(_heads(graph, graph.linear(normed, weight("self_attn.k_proj")), shape.kv_heads, width))
    value = _heads(graph, graph.linear(normed, weight("self_attn.v_proj")), shape.kv_heads, width)
    shared = graph.constant(np.arange(shape.heads) // (shape.heads // shape.kv_heads))
    key, value = (graph("Gather", heads, shared, axis=1) for heads in (key, value))
    scores = graph("MatMul", query, graph("Transpose", key, perm=[0, 1, 3, 2]))
    scores = graph("Mul", scores, graph.constant(np.float32(width**-0.5)))
    mixed = graph("MatMul", graph("Softmax", graph("Add", scores, position.mask), axis=-1), value)
    flat = graph("Reshape", graph("Transpose", mixed, perm=[0, 2, 1, 3]), graph.constant(np.array([0, 0, -1])))
    return graph.linear(flat, weight("self_attn.o_proj"))
