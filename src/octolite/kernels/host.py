"""What this processor has, by the compiler's names for it.

The compiler knows most of it. It neither reads which of the products of bytes an ARM processor
has, nor asks the system for the use of tile registers.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sys

from llvmlite import binding as llvm

# Linux: the auxiliary vector's entry, and the bit in it (asm/hwcap.h of arm64).
_HWCAPS = {"dotprod": (16, 1 << 20), "i8mm": (26, 1 << 13)}
# macOS: the name to ask for.
_SYSCTLS = {
    "dotprod": b"hw.optional.arm.FEAT_DotProd",
    "i8mm": b"hw.optional.arm.FEAT_I8MM",
}

# Linux on x86: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA).
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18


@functools.cache
def has(feature: str) -> bool:
    """Whether code that needs ``feature`` may run here.

    The first time that ``amx-int8`` is asked for on a processor that has it, the process asks
    for the permission that tile registers take; without it the answer is no.
    """
    if platform.machine().lower() in ("aarch64", "arm64") and feature in _HWCAPS:
        return _arm(feature)
    if not llvm.get_host_cpu_features().get(feature, False):
        return False
    return feature != "amx-int8" or _tiles_permitted()


def _arm(feature: str) -> bool:
    system = ctypes.CDLL(None)
    if sys.platform == "darwin":
        value, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
        given = (ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
        return system.sysctlbyname(_SYSCTLS[feature], *given) == 0 and value.value != 0
    if not hasattr(system, "getauxval"):
        return False
    entry, bit = _HWCAPS[feature]
    system.getauxval.restype = ctypes.c_ulong
    return bool(system.getauxval(ctypes.c_ulong(entry)) & bit)


def _tiles_permitted() -> bool:
    if sys.platform != "linux":
        return False
    call = ctypes.CDLL(None).syscall
    call.restype = ctypes.c_long
    numbers = (_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA)
    return bool(call(*(ctypes.c_long(n) for n in numbers)) == 0)
