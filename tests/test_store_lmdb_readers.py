"""Readers of the index that died: what they held is let go."""

import subprocess
import sys
from pathlib import Path

import pytest
from contract.bench import PART
from storebench import OPTIONS, keeper, run, until

from fastsmtp.store.lmdb import keeper as keeping
from fastsmtp.store.lmdb.index import Index

HOLD = """
import sys
from pathlib import Path
from fastsmtp.store.lmdb.index import Index
from storebench import OPTIONS
index = Index(Path(sys.argv[1]), OPTIONS, readonly=True)
with index.env.begin() as txn:
    print(txn.id(), flush=True)
    sys.stdin.read()
"""


def hold(place: Path) -> subprocess.Popen[bytes]:
    """A reader in a process of its own, with a transaction open."""
    tests = Path(__file__).parent
    reader = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place)],
        env={"PYTHONPATH": f"{tests}:{tests.parent}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert reader.stdout
    assert reader.stdout.readline().strip().isdigit()
    return reader


def kill(reader: subprocess.Popen[bytes]) -> None:
    reader.kill()
    reader.communicate()


@pytest.mark.slow
def test_a_dead_readers_slot_is_cleared_while_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_READERS", "_CLEAN", "_LOOK"):
        monkeypatch.setattr(keeping, name, 0.005)

    async def case() -> None:
        async with keeper(tmp_path) as store:
            before = store.index.readers().slots
            reader = hold(tmp_path)
            for n in range(5):
                await store.commit(PART, puts=[(b"a", b"%d" % n)])
            assert store.index.readers().slots > before
            most = store.index.readers().most
            assert most > before
            assert store.index.readers().behind >= 5
            kill(reader)
            await until(lambda: store.index.readers().slots == before)
            assert store.index.readers().behind < 5
            assert store.index.readers().most == most  # it is told when nobody reads

    run(case())


@pytest.mark.slow
def test_opening_clears_what_a_dead_process_left(tmp_path: Path) -> None:
    async def case() -> None:
        async with keeper(tmp_path) as store:
            await store.commit(PART, puts=[(b"a", b"1")])

    run(case())
    kill(hold(tmp_path))
    index = Index(tmp_path, OPTIONS, readonly=True)
    try:
        assert index.readers().slots == 0
    finally:
        index.close()
