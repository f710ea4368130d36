"""Our calls against the real TensorRT 11.4, CUDA and Polygraphy, on a machine without a GPU.

What our code uses is read from its source: mypy checks every name, member, argument and type
against a stub that is made from the real bindings, and the source tree tells what is asked of CUDA
and Polygraphy.
"""

from __future__ import annotations

import ast
import inspect
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.engines.tensorrt.api_stub import signatures, stub

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
SIMULATED = ROOT / "tests" / "simulated"
PACKAGE = ROOT / "sdopt" / "engines" / "tensorrt"
RUNNING = ("api.py", "plan.py", "engine.py", "backend.py", "profiles.py", "__init__.py")
"""What is used where engines are only run."""
VERSION = "11.4.0.106"

NEEDED = ("tensorrt_bindings", "tensorrt_lean_bindings", "cuda", "polygraphy")
pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or not all(map(find_spec, NEEDED)),
    reason="needs gcc, and the packages of sdopt[dev] for Linux on x86-64: tensorrt-cu13-bindings, "
    "tensorrt-lean-cu13-bindings with its libs, cuda-bindings and polygraphy",
)


def python(*arguments: object) -> str:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The full API of 11.4, from the real bindings over empty libraries."""
    folder = tmp_path_factory.mktemp("stubs")
    return json.loads(python(HERE / "describe_api.py", "tensorrt_bindings", folder))


@pytest.fixture(scope="module")
def lean() -> dict[str, Any]:
    """The API of the lean runtime, with its real libraries."""
    return json.loads(python(HERE / "describe_api.py", "tensorrt_lean_bindings"))


def check_types(api: dict[str, Any], package: str, sources: Path, folder: Path) -> list[str]:
    """Return mypy's complaints about sources that use an API."""
    (folder / "tensorrt.pyi").write_text(stub(api, package))
    (folder / "mypy.ini").write_text(
        "[mypy]\nignore_missing_imports = True\nfollow_imports = skip\n"
        "explicit_package_bases = True\n"
        f"mypy_path = {folder}\ncache_dir = {folder / 'cache'}\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file", folder / "mypy.ini"]
    files = [folder / "tensorrt.pyi", *sorted(sources.rglob("*.py"))]
    done = subprocess.run(
        [*command, *files], capture_output=True, text=True, check=False, cwd=sources
    )
    assert done.returncode in (0, 1), done.stderr
    lines = done.stdout.splitlines()
    return [line for line in lines if ": error:" in line and "tensorrt.pyi" not in line]


def copied(folder: Path, names: tuple[str, ...] | None = None) -> Path:
    """Copy our package aside, as a package of the same name."""
    target = folder / "source" / "sdopt" / "engines" / "tensorrt"
    target.mkdir(parents=True)
    for file in PACKAGE.glob("*.py"):
        if names is None or file.name in names:
            shutil.copy(file, target)
    return folder / "source"


def test_the_version_is_the_one_that_the_simulator_says_it_is(real: dict[str, Any]) -> None:
    out = python("-c", "import importlib.metadata as m; print(m.version('tensorrt-cu13-bindings'))")
    assert out.strip() == VERSION
    assert f'__version__ = "{VERSION}"' in (SIMULATED / "tensorrt" / "__init__.py").read_text()


def test_everything_that_we_use_is_in_the_full_api(real: dict[str, Any], tmp_path: Path) -> None:
    assert check_types(real, "tensorrt_bindings", copied(tmp_path), tmp_path) == []


def test_what_runs_engines_is_in_the_lean_runtime(lean: dict[str, Any], tmp_path: Path) -> None:
    """All but putting weights into stripped plans, which takes the parser of ONNX files."""
    errors = check_types(lean, "tensorrt_lean_bindings", copied(tmp_path, RUNNING), tmp_path)
    assert {error.partition("error: ")[2] for error in errors} == {
        'Name "trt.OnnxParserRefitter" is not defined  [name-defined]',
        'Module has no attribute "OnnxParserRefitter"  [attr-defined]',
    }


MISTAKES = [
    ("plan.py", "context.infer_shapes()", "context.infer_all_shapes()"),
    ("plan.py", "device_memory_size_v2)", "device_memory_size)"),
    ("plan.py", "trt.TensorIOMode.INPUT)", "trt.TensorIOMode.INPUTS)"),
    ("engine.py", "execute_async_v3(self._device.stream)", "execute_async_v3()"),
    ("engine.py", "set_tensor_address(name, place)", "set_tensor_address(name, address=place)"),
    ("engine.py", "scratch.address, scratch.nbytes)", "str(scratch.address), 'all')"),
    ("builder.py", "trt.MemoryPoolType.WORKSPACE", "trt.MemoryPoolType.WORK"),
    ("progress.py", "trt.IProgressMonitor.__init__(self)", "trt.IProgressMonitor.start(self)"),
]


def test_the_check_finds_names_arguments_and_types_that_are_wrong(
    real: dict[str, Any], tmp_path: Path
) -> None:
    sources = copied(tmp_path)
    places = []
    for file, ours, wrong in MISTAKES:
        path = sources / "sdopt" / "engines" / "tensorrt" / file
        text = path.read_text()
        assert text.count(ours) == 1, ours
        path.write_text(text.replace(ours, wrong))
        places.append(f"{file}:{text[: text.index(ours)].count(chr(10)) + 1}: error:")
    errors = check_types(real, "tensorrt_bindings", sources, tmp_path)
    assert [place for place in places if not any(place in error for error in errors)] == []


def chains(tree: ast.AST, root: str) -> Iterator[tuple[str, ...]]:
    """Give every ``root.a.b`` of a source as ("a", "b"), longest chains only."""
    inner: set[int] = set()
    for node in ast.walk(tree):
        names: list[str] = []
        walked: ast.AST = node
        while isinstance(walked, ast.Attribute):
            names.insert(0, walked.attr)
            walked = walked.value
            inner.add(id(walked))
        if names and isinstance(walked, ast.Name) and walked.id == root and id(node) not in inner:
            yield tuple(names)


def test_every_enum_member_and_class_is_there_by_name(real: dict[str, Any]) -> None:
    """The same once more without mypy, read off the source tree."""
    used = {
        chain
        for file in PACKAGE.glob("*.py")
        for chain in chains(ast.parse(file.read_text()), "trt")
    }
    assert len(used) > 15
    for first, *rest in used - {("__version__",)}:
        found = real[first]
        for name in rest:
            if name in found.get("enum", {}):
                break
            found = found["members"][name]


def calls_of(tree: ast.AST, names: set[str]) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield node.func.id, node


def test_polygraphy_takes_what_we_give_it() -> None:
    from polygraphy.backend import trt as polygraphy

    tree = ast.parse((PACKAGE / "builder.py").read_text())
    imported = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "polygraphy.backend.trt"
        for alias in node.names
    }
    assert set(imported.values()) == {
        "CreateConfig",
        "Profile",
        "engine_bytes_from_network",
        "network_from_onnx_path",
    }
    called = list(calls_of(tree, set(imported)))
    assert {imported[name] for name, _ in called} == set(imported.values())
    for name, call in called:
        allowed = parameters(getattr(polygraphy, imported[name]))
        assert {keyword.arg for keyword in call.keywords} <= allowed, name
        assert len(call.args) <= len(allowed)
    assert {"name", "min", "opt", "max"} <= parameters(polygraphy.Profile.add)


def parameters(function: Any) -> set[str]:
    """Return the names that a function takes; of a class, what all its constructors take."""
    if inspect.isclass(function):
        inits = [base.__init__ for base in function.__mro__ if "__init__" in vars(base)]
        return set().union(*map(parameters, inits))
    return {
        name for name in inspect.signature(function).parameters if name not in ("args", "kwargs")
    }


CUDA = """
import ast, inspect, json, sys
from pathlib import Path
from cuda.bindings import runtime
from tests.engines.tensorrt.test_real_api import cuda_calls, chains
tree = ast.parse(Path(sys.argv[1]).read_text())
for chain in set(chains(tree, "cudart")):
    found = runtime
    for name in chain:
        found = getattr(found, name)
for name, count in cuda_calls(tree):
    inspect.signature(getattr(runtime, name)).bind(*range(count))
print(json.dumps([len(set(chains(tree, "cudart"))), len(list(cuda_calls(tree)))]))
"""


def cuda_calls(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Give every function of CUDA's that is called, and with how many arguments.

    Calls are written ``cudart.function(...)`` or ``_checked(cudart.function, ...)``; where the
    module is not at hand yet, ``library()`` stands for it.
    """
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "_checked":
            function, count = node.args[0], len(node.args) - 1
        else:
            function, count = node.func, len(node.args)
        if isinstance(function, ast.Attribute) and function.attr.startswith("cuda"):
            yield function.attr, count


def test_cuda_takes_what_we_give_it() -> None:
    """In a process of its own: other tests have the simulated CUDA in its place."""
    source = ROOT / "sdopt" / "engines" / "cuda" / "runtime.py"
    names, calls = json.loads(python("-c", CUDA, source))
    assert names > 15
    assert calls > 20


OFFERED = """
import importlib, inspect, json, sys
from enum import IntEnum
def kind(value):
    if inspect.isclass(value):
        members = {n: int(m) for n, m in getattr(value, "__members__", {}).items()}
        foreign = (int, bytes, IntEnum)
        bases = [b for b in value.__mro__[:-1] if b not in foreign and b.__module__ != "enum"]
        own = [(n, m) for b in bases for n, m in vars(b).items() if n not in members]
        return {"enum": members, "members": {n: kind(m) for n, m in own if wanted(n)}}
    if inspect.isfunction(value):
        return {"parameters": [p for p in inspect.signature(value).parameters if p != "self"]}
    return {}
def wanted(name):
    special = ("__init__", "__len__", "__getitem__", "__bool__", "__enter__")
    return not name.startswith("_") or name in special
module = importlib.import_module(sys.argv[1])
names = [n for n in dir(module) if wanted(n) and not n.startswith("__")]
own = [n for n in names if not inspect.ismodule(getattr(module, n))
       and getattr(getattr(module, n), "__module__", sys.argv[1]).startswith(sys.argv[1])]
print(json.dumps({n: kind(getattr(module, n)) for n in own}))
"""


def offered(module: str) -> dict[str, Any]:
    """Describe what the simulator offers."""
    return json.loads(
        python("-c", f"import sys; sys.path.insert(0, {str(SIMULATED)!r})\n{OFFERED}", module)
    )


def test_the_simulated_tensorrt_offers_nothing_that_the_real_one_lacks(
    real: dict[str, Any],
) -> None:
    simulated = offered("tensorrt")
    assert len(simulated) > 25
    for name, said in simulated.items():
        if "parameters" in said:
            assert_parameters(name, said["parameters"], real[name]["doc"])
            continue
        assert said["enum"].items() <= real[name]["enum"].items(), name
        assert_members(name, said["members"], real[name]["members"])


def assert_members(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for member, said in ours.items():
        assert member in theirs, f"{name}.{member}"
        if "parameters" in said and theirs[member]["kind"] == "method":
            assert_parameters(f"{name}.{member}", said["parameters"], theirs[member]["doc"])


def assert_parameters(name: str, ours: list[str], doc: str) -> None:
    """Those that begin with an underscore are the simulator's own: only it makes such objects."""
    ours = [parameter for parameter in ours if not parameter.startswith("_")]
    found = list(signatures(name.rpartition(".")[2], doc))
    public = [text for text in found if "arg0" not in text]
    if public:
        assert any(all(f"{p}:" in text or f"{p}=" in text for p in ours) for text in public), name


def test_the_simulated_cuda_offers_nothing_that_the_real_one_lacks() -> None:
    simulated = offered("cuda.bindings.runtime")
    assert len(simulated) >= 30
    code = (
        "import inspect, json, sys\nfrom cuda.bindings import runtime\n"
        "ours = json.loads(sys.argv[1])\n"
        "for name, said in ours.items():\n"
        "    real = getattr(runtime, name)\n"
        "    for member, number in said.get('enum', {}).items():\n"
        "        assert int(getattr(real, member)) == number, (name, member)\n"
        "    for member in said.get('members', {}):\n"
        "        assert hasattr(real, member), (name, member)\n"
        "    if 'parameters' in said:\n"
        "        wanted = list(inspect.signature(real).parameters)\n"
        "        assert said['parameters'] == wanted, (name, wanted)\n"
        "print(len(ours))\n"
    )
    assert int(python("-c", code, json.dumps(simulated))) == len(simulated)
