"""The registered functions as accelerators get them: programs exported on a CPU and read as text.

`programs` calls a function in every way, `exported` lowers it for CUDA, ROCm and TPU at once, and `faults` lists what
such a machine would refuse, or do slowly. ``python -m tests.lowering`` prints what is no fault and worth knowing.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from tests.registry import FUNCTIONS

PLATFORMS = ("cuda", "rocm", "tpu")
KNOWN = {
    **dict.fromkeys(
        ("cusolver_geqrf_ffi", "cusolver_orgqr_ffi", "hipsolver_geqrf_ffi", "hipsolver_orgqr_ffi"),
        "QR on a GPU, for orthogonal kernels",
    ),
    **dict.fromkeys(("Qr", "ProductOfElementaryHouseholderReflectors"), "QR on a TPU"),
}
"""Custom calls that programs may hold, and what for; all else runs as the compiler's own operations."""
WIDE = {
    "nn.spectral_norm.apply": "the singular vectors are statistics, kept in float32",
}
"""Layers that multiply in float32 where everything around them is bfloat16, and why."""

DECOMPOSED = {
    "measure.curvature.classify_critical_point": "the eigenvalues of a small tridiagonal matrix",
    "measure.curvature.condition_number": "the eigenvalues of a Krylov space, of some dozen dimensions",
    "measure.curvature.eigenpairs": "the eigenvectors of a Krylov space, of some dozen dimensions",
    "measure.curvature.find_critical_point": "the eigenvectors of a Hessian, up to 2 inner parameters",
    "measure.landscapes.path_plane": "the principal components of a path, of as many dimensions as it has points",
    "measure.quantities.effective_rank": "the singular values of a batch of activations",
    "measure.quantities.rank": "the singular values of a batch of activations",
}
"""Functions that are about eigenvalues or singular values, and of what; they may call `SOLVERS`."""
SOLVERS = re.compile(r"(cusolver|hipsolver)_(syevd|gesvdj)_ffi|Eigh")

FORWARD = {
    "initializers.lsuv": "a while loop, of which JAX has no reverse mode",
}
"""Functions of which there is no gradient, and why."""

PRODUCT = re.compile(r"stablehlo\.(?:dot_general|dot|convolution)\b.*: \((tensor<\S+>), (tensor<\S+>)\) ->")


def floating(a: Any) -> bool:
    return jnp.issubdtype(a.dtype, jnp.floating)


def pullback(call: Callable[..., Any], args: list[Any]) -> Callable[..., Any] | None:
    """All gradients of the floating results, as a function of the same arguments; None where there is none."""
    moving = [i for i, a in enumerate(args) if floating(a)]
    if not moving or not any(map(floating, jax.tree.leaves(jax.eval_shape(call, *args)))):
        return None

    def pulled(*args: Any) -> Any:
        def results(*values: Any) -> list[Any]:
            full = list(args)
            for i, value in zip(moving, values, strict=True):
                full[i] = value
            return [a for a in jax.tree.leaves(call(*full)) if floating(a)]

        out, pull = jax.vjp(results, *(args[i] for i in moving))
        return pull([jnp.ones_like(a) for a in out])

    return pulled


def programs(name: str, dtype: str) -> Iterator[tuple[str, Callable[..., Any], list[Any]]]:
    """A registered function as it is, vmapped, and pulled back, with the shapes of its arguments."""
    call, arguments = FUNCTIONS[name].call, FUNCTIONS[name].arguments
    args = [jax.ShapeDtypeStruct(a.shape, dtype if a.dtype.kind == "f" else jnp.asarray(a).dtype) for a in arguments]
    yield "plain", call, args
    yield "vmap", jax.vmap(call), args
    pulled = None if name in FORWARD else pullback(call, args)
    if pulled is not None:
        yield "grad", pulled, args


def exported(call: Callable[..., Any], *args: Any, platforms: tuple[str, ...] = PLATFORMS) -> str:
    """The StableHLO of one program for all the platforms."""
    made = jax.export.export(jax.jit(call), platforms=platforms)(*args)
    effects = (*made.ordered_effects, *made.unordered_effects)
    return made.mlir_module() + "".join(f"// effect {effect}\n" for effect in effects)


def custom_calls(text: str) -> Counter[str]:
    """What a program calls that is no operation of StableHLO."""
    return Counter(re.findall(r"custom_call @([\w.$]+)", text))


def operations(text: str) -> Counter[str]:
    """How often each operation stands in a program."""
    return Counter(re.findall(r"(?:stablehlo|chlo)\.(\w+)", text))


def lines(pattern: str, text: str) -> list[str]:
    """The lines of a program in which the pattern occurs, without what tells only where they come from."""
    return [line.strip().partition(" loc(")[0] for line in text.splitlines() if re.search(pattern, line)]


def faults(text: str, dtype: str, *, layer: bool = False, decomposed: bool = False) -> list[str]:
    """What an accelerator would refuse or do slowly in a program of that dtype.

    - a custom call that is none of `KNOWN`, a callback to the host among them, and none of `SOLVERS` where the
      function is ``decomposed``;
    - a shape that is not known when it is compiled;
    - float64 where the arguments are narrower;
    - the bits of a float64, which a TPU does not have (jax issue 30629);
    - in a bfloat16 ``layer`` a product of float32 arrays, which no tensor core takes.
    """
    calls = [name for name in custom_calls(text) if name not in KNOWN]
    found = [f"custom call {name}" for name in calls if not (decomposed and SOLVERS.fullmatch(name))]
    found += lines("^// effect ", text)
    found += [f"dynamic shape: {line}" for line in lines(r"tensor<[^>]*\?", text)]
    if dtype != "float64":
        found += [f"float64: {line}" for line in lines(r"[<x]f64>", text)]
    bits = r"bitcast_convert .*: \(tensor<(\d+x)*f64>\)|next_after .*f64>"
    found += [f"bits of a float64: {line}" for line in lines(bits, text)]
    if layer and dtype == "bfloat16":
        found += [f"product in float32: {line}" for line in text.splitlines() if is_wide_product(line)]
    return found


def is_wide_product(line: str) -> bool:
    """Whether a line multiplies arrays of which one is float32."""
    match = PRODUCT.search(line)
    return match is not None and any(operand.endswith("f32>") for operand in match.groups())


def function_faults(name: str) -> list[str]:
    """All faults of a registered function, in every way and dtype."""
    found = []
    for dtype in FUNCTIONS[name].dtypes:
        if dtype == "float16":  # as bfloat16
            continue
        with jax.enable_x64(dtype == "float64"):
            for way, call, args in programs(name, dtype):
                layer = name.startswith("nn.") and name not in WIDE
                text = exported(call, *args)
                found += [
                    f"{dtype} {way}: {fault}"
                    for fault in faults(text, dtype, layer=layer, decomposed=name in DECOMPOSED)
                ]
    return found + [f"float32 under x64, {fault}" for fault in widened(name)]


def widened(name: str) -> Iterator[str]:
    """Where a function for networks makes float64 arrays of float32 ones, which it may do under ``jax.enable_x64``.

    Such as ``where(mask, 1.0, 0.0)``, of two Python numbers. A single number is none the slower for it.
    """
    if "bfloat16" not in FUNCTIONS[name].dtypes:
        return
    with jax.enable_x64(True):
        for way, call, args in programs(name, "float32"):
            for line in lines(r"tensor<(?!1x(1x)*f64>)(\d+x)+f64>", exported(call, *args)):
                yield f"{way}: {line}"


def report() -> Iterator[str]:
    """What is no fault: convolutions that a vmap over kernels made into one of as many groups, slow on CUDA."""
    for name in (name for name in FUNCTIONS if "convol" in name or name.endswith("cnn")):
        for way, call, args in programs(name, "float32"):
            groups = re.findall(r"(feature|batch)_group_count = (\d+)", exported(call, *args))
            many = [f"{which} group count {count}" for which, count in groups if int(count) > 1]
            counts = ", ".join(f"{n} with {what}" for what, n in Counter(many).items())
            counts = counts or "none in groups"
            yield f"{name}, {way}, {len(groups) // 2} convolutions for {len(PLATFORMS)} platforms: {counts}"


if __name__ == "__main__":
    print(*report(), sep="\n")
