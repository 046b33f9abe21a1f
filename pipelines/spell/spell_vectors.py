"""A vector register of float32 as a type of numba, since its own loops over so few elements cost more than the work.

Only for code that numba compiles; imports fail without it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

from .spell_int8 import LANES

_FUSED = ("contract",)


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Vector")


VECTOR = _Vector()
_TYPE = ir.VectorType(ir.FloatType(), LANES)


@register_model(_Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _TYPE)


@intrinsic
def vector(_: Any, array: Any, index: Any) -> Any:
    """The elements of an int8 or float32 array from `index`, a tuple, on; as float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = _pointer(context, builder, signature, arguments)
        if signature.args[0].dtype == types.float32:
            return builder.load(builder.bitcast(start, _TYPE.as_pointer()), align=4)
        stored = ir.VectorType(ir.IntType(8), LANES)
        return builder.sitofp(builder.load(builder.bitcast(start, stored.as_pointer()), align=1), _TYPE)

    return VECTOR(array, index), generate


@intrinsic
def put(_: Any, array: Any, index: Any, values: Any) -> Any:
    """Write a vector into a float32 array, from `index` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = _pointer(context, builder, signature, arguments)
        builder.store(arguments[2], builder.bitcast(start, _TYPE.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.none(array, index, values), generate


@intrinsic
def filled(_: Any, value: Any) -> Any:
    """A vector that repeats one float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _repeated(builder, arguments[0])

    return VECTOR(types.float32), generate


@intrinsic
def add_product(_: Any, total: Any, factor: Any, values: Any) -> Any:
    """total + factor * values, with a float32 or a vector as the factor."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total, factor, values = arguments
        if signature.args[1] == types.float32:
            factor = _repeated(builder, factor)
        return builder.fadd(total, builder.fmul(factor, values, flags=_FUSED), flags=_FUSED)

    return VECTOR(total, factor, values), generate


@intrinsic
def not_below(_: Any, values: Any, threshold: Any) -> Any:
    """Bits of the elements that are not less than a float32, the first element's lowest."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        mask = builder.fcmp_unordered(">=", arguments[0], _repeated(builder, arguments[1]))
        return builder.zext(builder.bitcast(mask, ir.IntType(LANES)), ir.IntType(64))

    return types.int64(values, threshold), generate


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    kind, index = signature.args[:2]
    array = context.make_array(kind)(context, builder, arguments[0])
    places = [
        context.cast(builder, place, each, types.intp)
        for place, each in zip(cgutils.unpack_tuple(builder, arguments[1]), index.types, strict=True)
    ]
    return cgutils.get_item_pointer(context, builder, kind, array, places, wraparound=False)


def _repeated(builder: Any, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(_TYPE, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(_TYPE, ir.Undefined), zeros)
