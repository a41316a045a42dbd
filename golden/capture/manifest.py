"""Writes golden/manifest.json: the hash of every golden, and where they come from. Run it after any capture.

    python manifest.py

Needs the standard library only. A test compares the manifest with the snapshots, so that none changes unnoticed.
"""

import json

import common

SNAPSHOTS = common.GOLDEN / "snapshots"


def info_of(path):
    """The `info` of a snapshot."""
    head = path.read_text("utf-8").split("\n---\n", 1)[0]
    (line,) = [line for line in head.splitlines() if line.startswith("info: ")]
    return json.loads(line.removeprefix("info: "))


def main():
    paths = sorted(SNAPSHOTS.rglob("*.snap"), key=lambda path: path.relative_to(SNAPSHOTS).as_posix())
    builds, libcs, models = {}, set(), {}
    for path in paths:
        info = info_of(path)
        builds.setdefault(info["build"], info["reference"])
        assert builds[info["build"]] == info["reference"], f"{path.name}: another reference of build {info['build']}"
        if "libc" in info:
            libcs.add(info["libc"])
        if "model_sha256" in info:
            # A vocabulary is called as its snapshot is.
            name = info.get("model", path.stem)
            assert models.setdefault(name, info["model_sha256"]) == info["model_sha256"], name
    manifest = {
        "builds": builds,
        "libc": sorted(libcs),
        "models": models,
        "snapshots": {path.relative_to(SNAPSHOTS).as_posix(): common.sha256(path) for path in paths},
    }
    text = json.dumps(manifest, indent=1, sort_keys=True)
    (common.GOLDEN / "manifest.json").write_text(text + "\n", newline="\n")
    print(f"{len(paths)} snapshots of {len(models)} models")


if __name__ == "__main__":
    main()
