"""Gets the packages of the catalog: Python's and Node's into target/clients, Debian's with apt-get.

Every failure is an exception, so no client is left out in silence.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE / "scripts"
TARGET = HERE.parent.parent / "target" / "clients"

# What a client of Debian's needs beside its own package.
COMPANIONS = {
    "golang-github-gorilla-websocket-dev": ["golang-go"],
    "golang-golang-x-net-dev": ["golang-go"],
    "gir1.2-soup-3.0": ["python3-gi"],
}


def install(packages):
    """Installs "KIND:NAME" packages and returns what is there, for the table."""
    kinds = {}
    for package in packages:
        kind, name = package.split(":")
        kinds.setdefault(kind, set()).add(name)
    if "pypi" in kinds:
        _once("requirements.txt", "venv", _venv)
    if "npm" in kinds:
        _once("package.json", "node_modules", _node_modules)
    if "debian" in kinds:
        names = kinds["debian"]
        _debian(names.union(*(COMPANIONS.get(name, []) for name in names)))
    return {package: _version(*package.split(":")) for package in packages}


def command(script):
    """How to start `script`, which is built first where that is needed."""
    path = SCRIPTS / script
    if script.startswith(("python-", "aiohttp-")):
        return [TARGET / "venv/bin/python", path]
    if path.suffix == ".py":
        # Debian's modules belong to Debian's Python.
        return ["/usr/bin/python3", path]
    if path.suffix == ".js":
        return ["node", path]
    if path.suffix == ".pl":
        return ["perl", path]
    if path.suffix == ".go":
        program = TARGET / path.stem
        _run(["go", "build", "-o", program, path], GO111MODULE="off", GOPATH="/usr/share/gocode",
             GOCACHE=str(TARGET / "go"), GOFLAGS="", CGO_ENABLED="0")
        return [program]
    raise ValueError(f"no interpreter for {script}")


def environment():
    """For the scripts: Node finds its packages, and no proxy of this machine gets between."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return kept | {"NODE_PATH": str(TARGET / "node_modules")}


def _once(listing, folder, make):
    """Makes `folder` unless it was made from the same `listing`."""
    listing, folder = HERE / listing, TARGET / folder
    copy = TARGET / f"{listing.name}.installed"
    if copy.exists() and folder.exists() and copy.read_text() == listing.read_text():
        return
    print(f"fetching what {listing.name} lists")
    TARGET.mkdir(parents=True, exist_ok=True)
    copy.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    make(listing, folder)
    shutil.copy(listing, copy)


def _venv(requirements, folder):
    _run(["python3", "-m", "venv", folder])
    _run([folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
          "-r", requirements])


def _node_modules(manifest, _folder):
    shutil.copy(manifest, TARGET)
    _run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock",
          "--ignore-scripts", "--prefix", TARGET])


def _debian(names):
    missing = [name for name in sorted(names) if not _debian_version(name)]
    if not missing:
        return
    print(f"fetching {' '.join(missing)}")
    root = [] if os.geteuid() == 0 else ["sudo"]
    _run([*root, "apt-get", "update", "-qq"])
    _run([*root, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing])


def _debian_version(name):
    """The version of an installed package, without Debian's own part; "" if it is not installed."""
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", name]
    said = subprocess.run(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    found = re.fullmatch(r"installed (?:\d+:)?([^-+]+).*", said)
    return found[1] if found else ""


def _version(kind, name):
    if kind == "debian":
        return f"Debian {name} {_debian_version(name)}"
    pattern, listing = {
        "pypi": (f"^{re.escape(name)}==(.+)$", "requirements.txt"),
        "npm": (f'"{re.escape(name)}": "(.+)"', "package.json"),
    }[kind]
    version = re.search(pattern, (HERE / listing).read_text(), re.MULTILINE)[1]
    return f"{ {'pypi': 'PyPI', 'npm': 'npm'}[kind]} {name} {version}"


def _run(arguments, **variables):
    done = subprocess.run([str(each) for each in arguments], env=os.environ | variables, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))} failed:\n{done.stdout}")
