"""The floor of a training step: its matrix products on their own."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True)
class Product:
    """`count` independent products [rows, inner] x [inner, columns] in one call.

    Attributes:
        left_transposed, right_transposed: the operand's memory layout is that of its transpose.
    """

    count: int
    rows: int
    inner: int
    columns: int
    left_transposed: bool = False
    right_transposed: bool = False

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.count * self.rows * self.inner * self.columns


class ProductRecorder(TorchDispatchMode):
    """Records every matrix product inside it, those of the backward pass and attention included.

    Attention (one fused operator) counts as the products it must do: two in the forward pass,
    five in the backward pass, which computes the scores again. Masked products count in full.
    """

    def __init__(self) -> None:
        super().__init__()
        self.products: Counter[Product] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Note the operands, then run the operator."""
        name = func.overloadpacket.__name__
        if name in ("mm", "bmm"):
            self.products[_product(args[0], args[1])] += 1
        elif name in ("addmm", "baddbmm"):
            self.products[_product(args[1], args[2])] += 1
        elif name.startswith("_scaled_dot_product"):
            backward = "backward" in name
            query, key, value = args[1:4] if backward else args[:3]
            self.products.update(_attention(query, key, value, backward))
        return func(*args, **(kwargs or {}))


def _product(left: Tensor, right: Tensor) -> Product:
    return Product(
        count=left.shape[0] if left.ndim == 3 else 1,
        rows=left.shape[-2],
        inner=left.shape[-1],
        columns=right.shape[-1],
        left_transposed=_transposed(left),
        right_transposed=_transposed(right),
    )


def _transposed(matrix: Tensor) -> bool:
    return matrix.stride(-1) != 1 and matrix.stride(-2) == 1


def _attention(query: Tensor, key: Tensor, value: Tensor, backward: bool) -> Counter[Product]:
    """Products of one attention call on [..., L, head_dim]."""
    count = math.prod(query.shape[:-2])
    rows, keys, dim, value_dim = query.shape[-2], key.shape[-2], query.shape[-1], value.shape[-1]
    scores = Product(count, rows, dim, keys, right_transposed=True)
    mixed = Product(count, rows, keys, value_dim)
    if not backward:
        return Counter([scores, mixed])
    return Counter(
        [
            scores,
            Product(count, rows, value_dim, keys, right_transposed=True),  # of the weights
            Product(count, keys, rows, value_dim, left_transposed=True),  # of the values
            Product(count, rows, keys, dim),  # of the queries
            Product(count, keys, rows, dim, left_transposed=True),  # of the keys
        ]
    )


def record_products(run: Callable[[], object]) -> Counter[Product]:
    """The matrix products that `run` does, with how often."""
    recorder = ProductRecorder()
    with recorder:
        run()
    return recorder.products


def total_flops(products: Mapping[Product, int]) -> int:
    """Floating-point operations of all products."""
    return sum(product.flops * times for product, times in products.items())


class PlainProducts:
    """Calling it does the unbatched products, one by one, and nothing else.

    Batched products are attention's: less than a hundredth of the operations, and so small that
    doing them one call each takes longer than attention itself. They are left out of this floor.
    """

    def __init__(self, products: Mapping[Product, int], device: str) -> None:
        self._work = [
            (
                _matrix(product.rows, product.inner, product.left_transposed, device),
                _matrix(product.inner, product.columns, product.right_transposed, device),
                torch.empty(product.rows, product.columns, device=device),
                times,
            )
            for product, times in products.items()
            if product.count == 1
        ]

    def __call__(self) -> None:
        """Do them."""
        for left, right, result, times in self._work:
            for _ in range(times):
                torch.mm(left, right, out=result)


def _matrix(rows: int, columns: int, transposed: bool, device: str) -> Tensor:
    if transposed:
        return torch.randn(columns, rows, device=device).T
    return torch.randn(rows, columns, device=device)


MATRIX_PRODUCT = re.compile(r"aten::(mm|addmm|bmm|baddbmm)$")
ATTENTION = re.compile(r"aten::_scaled_dot_product")
OPTIMISER = re.compile(r"aten::_fused_adamw_|aten::lerp_|aten::linalg_vector_norm|Optimizer\.")
"""Names under which the profiler lists the parts of a training step."""
