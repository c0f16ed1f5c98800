"""What a plan is built for: the processor, its vector ISA and its caches; or a GPU."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from planck.device.cuda.driver import Properties
from planck.errors import BuildError, NoDeviceError
from planck.knobs import knobs

ISA_VECTOR_BYTES: Final = {"avx512": 64, "avx2": 32, "neon": 16, "portable": 16}
_AVX512: Final = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "fma"}
_AVX2: Final = {"avx2", "fma", "bmi1", "bmi2", "f16c"}
GENERIC: Final = "generic"  # the machine of a target, and of a plan, that nothing was timed on
_OLDEST_SM: Final = 80  # the first that multiplies bfloat16 and TF32
_EXTRAS: Final = ("avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni")


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of machine that code can be built for.

    isa:      "avx512", "avx2", "neon" or "portable" (four lanes, any processor LLVM knows); of a
              GPU "sm_90" and the like
    arch:     "x86_64", "aarch64"; "cuda" for an NVIDIA GPU
    extras:   further instruction sets that kernels may use, as Linux spells them; "tf32" where a
              GPU may round the operands of float32 products to TF32
    machine:  what makes measured times comparable: processor model, cores and caches; "generic"
              where nothing has been measured
    cores:    of a GPU its multiprocessors
    l1_bytes: of a GPU the shared memory that one block may have
    l3_bytes: of the last cache, which cores share; 0 where there is none
    """

    isa: str
    arch: str = "x86_64"
    extras: tuple[str, ...] = ()
    machine: str = GENERIC
    cores: int = 1
    l1_bytes: int = 32 * 1024
    l2_bytes: int = 1024 * 1024
    l3_bytes: int = 0

    @property
    def vector_bytes(self) -> int:
        return ISA_VECTOR_BYTES[self.isa]

    @property
    def lanes(self) -> int:
        """Float32 lanes of one vector: also the channel block of the blocked layout."""
        return self.vector_bytes // 4

    @property
    def registers(self) -> int:
        """Vector registers that the ISA names."""
        return 32 if self.isa in ("avx512", "neon") else 16

    @property
    def multiplies_bfloat16(self) -> bool:
        """Whether it has AVX512_BF16: products of pairs in one instruction."""
        return self.isa == "avx512" and "avx512_bf16" in self.extras

    @property
    def is_cuda(self) -> bool:
        return self.arch == "cuda"

    @property
    def sm(self) -> int:
        """A GPU's compute capability, 90 for 9.0."""
        return int(self.isa.removeprefix("sm_"))

    def __str__(self) -> str:
        return f"cuda:{self.isa}" if self.is_cuda else f"cpu:{self.isa}"


def host() -> Target:
    """The machine this process runs on."""
    flags, model = _processor()
    arch = platform.machine().lower().replace("amd64", "x86_64").replace("arm64", "aarch64")
    if arch == "aarch64":
        isa = "neon"
    elif flags >= _AVX512:
        isa = "avx512"
    elif flags >= _AVX2:
        isa = "avx2"
    else:
        isa = "portable"
    cores = os.cpu_count() or 1
    return Target(
        isa=isa,
        arch=arch,
        extras=tuple(extra for extra in _EXTRAS if extra in flags),
        machine=f"{model} x{cores}",
        cores=cores,
        l1_bytes=_cache_bytes(0, 32 * 1024),
        l2_bytes=_cache_bytes(2, 1024 * 1024),
        l3_bytes=_cache_bytes(3, 0),
    )


def resolve(name: str) -> Target:
    """The target of "cpu", "cpu:avx2", "cuda", "cuda:sm_90", ...

    PLANCK_CPU overrides the ISA of plain "cpu". "cuda" is this machine's GPU; with an SM behind it,
    any GPU of that, which need not be here.

    raises: BuildError for a name that is no target, or an ISA this processor lacks; for "cuda"
            DeviceError and MissingExtraError
    """
    kind, _, isa = name.partition(":")
    if name == "cuda":
        return gpu(0)
    if kind == "cuda" and isa in _GENERIC:
        return _GENERIC[isa]
    if kind != "cpu":
        names = ["cpu", *(f"cpu:{isa}" for isa in ISA_VECTOR_BYTES)]
        names += ["cuda", *(f"cuda:{isa}" for isa in _GENERIC)]
        raise BuildError(f"planck has no target {name!r}", know=f"targets are {', '.join(names)}")
    here = host()
    isa = isa or knobs().cpu
    if not isa or isa == here.isa:
        return here
    order = ("portable", "avx2", "avx512")
    if isa not in order or here.isa not in order or order.index(isa) > order.index(here.isa):
        raise BuildError(
            f"this processor cannot run {isa!r} code",
            know=f"it has {here.isa}",
            try_="name an ISA that the processor has, or leave it out",
        )
    return replace(here, isa=isa, extras=())


def gpu(ordinal: int) -> Target:
    """A GPU of this machine. raises: MissingExtraError, DeviceError"""
    from planck.device.cuda.bindings import open_driver
    from planck.device.cuda.device import properties

    return gpu_target(properties(open_driver(), ordinal))


def gpu_target(properties: Properties) -> Target:
    """The target that a GPU is. raises: NoDeviceError for one that is too old"""
    if properties.sm < _OLDEST_SM:
        raise NoDeviceError(
            f"planck does not run on {properties.name}",
            know=f"it has compute capability {properties.sm / 10}; {_OLDEST_SM / 10} is needed",
        )
    return Target(
        isa=f"sm_{properties.sm}",
        arch="cuda",
        machine=f"{properties.name} {properties.memory_bytes / 2**30:.0f} GiB",
        cores=properties.multiprocessors,
        l1_bytes=properties.shared_bytes,
        l2_bytes=properties.l2_bytes,
    )


def counterpart(built: Target) -> Target:
    """What this machine has to run code built for a target: its processor, or its GPU.

    raises: for a GPU's code MissingExtraError, DeviceError
    """
    return gpu(0) if built.is_cuda else host()


# Multiprocessors, KiB of shared memory for a block and MiB of L2 of one GPU of each kind.
_GPUS: Final = {
    "sm_80": (108, 163, 40),  # A100
    "sm_86": (84, 99, 6),  # A40, GeForce RTX 3090
    "sm_89": (128, 99, 72),  # GeForce RTX 4090
    "sm_90": (132, 227, 50),  # H100
    "sm_100": (148, 227, 126),  # B200
    "sm_120": (170, 99, 96),  # GeForce RTX 5090
}
_GENERIC: Final = {
    isa: Target(isa, "cuda", cores=cores, l1_bytes=shared << 10, l2_bytes=l2 << 20)
    for isa, (cores, shared, l2) in _GPUS.items()
}


def _processor() -> tuple[set[str], str]:
    """CPU flags and the model's name; empty where the system does not say."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return set(), platform.processor() or platform.machine()
    fields: dict[str, str] = {}
    for line in info.read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    model = fields.get("model name") or fields.get("CPU part") or platform.machine()
    detail = "/".join(fields.get(k, "") for k in ("cpu family", "model", "stepping"))
    return set(fields.get("flags", fields.get("Features", "")).split()), f"{model} {detail}"


def _cache_bytes(index: int, default: int) -> int:
    path = Path(f"/sys/devices/system/cpu/cpu0/cache/index{index}/size")
    try:
        text = path.read_text().strip()
    except OSError:
        return default
    number = int(text.rstrip("KM") or 0)
    return number * {"K": 1024, "M": 1024 * 1024}.get(text[-1:], 1) or default
