"""What follows a reshape comes before it: the kernel that makes its operand can do that as well.

    %m = MatMul(%x, %w)                          %m = MatMul(%x, %w)
    %r = Reshape(%m)                             %s = Reshape(%y)
    %z = Pointwise(%r, %y, fn="add")      ->     %a = Pointwise(%m, %s, fn="add")
                                                 %z = Reshape(%a)

So residuals meet products of windows of an image, and activations of pixels in rows the
convolutions that make them. Fusion stops at reshapes, which are views.
"""

from __future__ import annotations

from planck.ir.graph import Graph, Node, Value
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Reshape, Transpose
from planck.ops.nn import Conv, MatMul
from planck.ops.pointwise import Pointwise
from planck.passes.match import inner, is_pointwise
from planck.refusal import No


@rule(Pointwise)
def sum_of_reshaped(view: View, node: Node) -> Patch | No:
    """reshape(f(matmul(x, w))) + y -> reshape(f(matmul(x, w)) + reshape(y)); of transposes too"""
    if not is_pointwise(node, "add"):
        return SKIP
    out = node.outputs[0]
    for value, other in (node.inputs, node.inputs[::-1]):
        reshape = inner(view, value, Reshape)
        if reshape is None or value.type != out.type or other.type != out.type:
            continue
        made = reshape.inputs[0]
        if not _grows(view, made) or inner(view, other, Reshape) is not None:
            continue
        if _grows(view, other):
            return No("either kernel may take the other's values, and would by turns")
        patch = view.patch()
        total = patch(Pointwise("add"), made, patch(Reshape(made.type.dims), other))
        return patch.replace(out, patch(Reshape(out.type.dims), total))
    return SKIP


def _grows(view: View, value: Value) -> bool:
    """Whether a kernel that only this value leaves may take one more operand of its shape."""
    while (node := inner(view, value, MatMul, Transpose, Pointwise)) is not None:
        if not isinstance(node.op, Pointwise):
            return True
        reads = [v for v in node.inputs if view.weight(v) is None]
        if len(reads) != 1:
            return False
        value = reads[0]
    return False


@rule(Pointwise)
def function_of_reshaped(view: View, node: Node) -> Patch | No:
    """f(reshape(conv(x))) -> reshape(f(conv(x)))"""
    out = node.outputs[0]
    value, *numbers = node.inputs
    reshape = inner(view, value, Reshape)
    if reshape is None or value.type != out.type or any(v.type.size > 1 for v in numbers):
        return SKIP
    made = reshape.inputs[0]
    if inner(view, made, Conv) is None:
        return No("no convolution makes it")
    patch = view.patch()
    return patch.replace(out, patch(Reshape(out.type.dims), patch(node.op, made, *numbers)))


RULES = (sum_of_reshaped, function_of_reshaped)


def reshape_later(graph: Graph) -> Graph:
    """Sums and functions next to what makes their operands."""
    return rewrite(graph, RULES)
