"""Random keys as a caller may bring them, typed or raw, of any implementation; and a stream of its own by purpose."""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_WORDS = {"threefry2x32": 2, "rbg": 4, "unsafe_rbg": 4}


def typed(key: Any, name: str = "key") -> jax.Array:
    """The key with its implementation.

    Raw data of two words are a key of threefry2x32. Those of four words are a key of ``rbg``, or of ``unsafe_rbg``
    where that is the default implementation; both draw the same bits and only split differently. Under a default
    implementation of one's own, raw data are a key of it.

    Args:
        key: A typed key of any implementation, or raw uint32 data; may be traced.
        name: The argument's name.

    Returns:
        The typed key.

    Raises:
        TypeError: ``key`` is neither.

    >>> raw = jax.random.key_data(jax.random.key(0, impl="rbg"))
    >>> jax.random.key_impl(typed(raw))
    'rbg'
    """
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return key
    default = jax.config.jax_default_prng_impl  # type: ignore[attr-defined]
    words = np.shape(key)[-1] if dtype == np.uint32 and np.ndim(key) else None
    if dtype != np.uint32 or (default in _WORDS and words not in _WORDS.values()):
        got = f"{dtype} of shape {np.shape(key)}" if dtype is not None else repr(key)
        raise TypeError(f"`{name}` must be a random key, such as jax.random.key(0); got {got}")
    if default in _WORDS and _WORDS[default] != words:
        default = "threefry2x32" if words == 2 else "rbg"
    return jax.random.wrap_key_data(jnp.asarray(key), impl=default)


def stream(key: Any, purpose: str, name: str = "key") -> jax.Array:
    """The key of one purpose, ``fold_in(key, crc32(purpose))``.

    What is drawn for one purpose then has nothing to do with what is drawn for another by the same key. The number of
    a name lies far above those of layers, epochs and steps, which are folded in as they are. Keys of ``unsafe_rbg``
    fold as those of ``rbg`` do.

    Args:
        key: A typed key of any implementation, or raw uint32 data; may be traced.
        purpose: Its name, dotted: the room, and what is drawn.
        name: The argument's name.

    Returns:
        The typed key.

    Raises:
        TypeError: ``key`` is neither.

    >>> key = jax.random.key(0)
    >>> bool(stream(key, "train.init_key") == jax.random.fold_in(key, 882413700))
    True
    """
    key, number = typed(key, name), np.uint32(zlib.crc32(purpose.encode()))
    if jax.random.key_impl(key) != "unsafe_rbg":
        return jax.random.fold_in(key, number)
    # Of raw data nobody knows whether they are its or rbg's; so both go the same way.
    folded = jax.random.fold_in(jax.random.wrap_key_data(jax.random.key_data(key), impl="rbg"), number)
    return jax.random.wrap_key_data(jax.random.key_data(folded), impl="unsafe_rbg")
