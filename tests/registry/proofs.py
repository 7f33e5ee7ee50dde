"""Laws of `jnorm.proofs`; seconds differ from call to call and are left out."""

import tempfile
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp

from jnorm.proofs import certificate
from tests.registry import host

BOX = ((-0.1, 0.1), (0.8, 1.5))  # mean and var of the paper's first theorem


def proved(name, *arguments, **options):
    function = getattr(certificate, name)
    host(f"proofs.certificate.{name}", lambda: replace(function(*arguments, **options), seconds=0.0))


proved("theorem1")
proved("theorem2")
proved("theorem3")
proved("contraction", *BOX, p=0.64)
proved("variance_decreases", (-1, 1), (2.45, 16))
proved("variance_increases", (-0.1, 0.1), (1e-3, 0.3), target=(0.1, 1.0))
proved("image_box", *BOX)
proved("gradient_bounds", *BOX)
proved("omega_range")
proved("tau_range")
proved("fixed_point", 0.1, 1.05)
proved("contraction_box", (-0.1, 0.1), (1.5, 1.6), phi=jnp.tanh)
proved("limit_set", (-0.2, 0.2), (0.7, 1.5), omega=0, tau=1)
proved("global_convergence", 0.0, 1.0)


def written():
    """What a file of two certificates shows, and its text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "selu.json"
        proofs = [certificate.theorem1(), certificate.theorem2(var=(2.45, 16))]
        certificate.write(path, [replace(proof, seconds=0.0) for proof in proofs])
        return path.read_text(), [verified._replace(seconds=0.0) for verified in certificate.check(path)]


host("proofs.certificate.write", written)
host("proofs.certificate.check", written)
