"""What `make micro` keeps of a run: nothing of whose machine it was, or of the tree."""

from typing import Any

KEPT = ("machine", "python_version", "python_implementation", "release", "cpu")


def pytest_benchmark_update_machine_info(
    config: Any, machine_info: dict[str, Any]
) -> None:
    kept = {key: machine_info[key] for key in KEPT if key in machine_info}
    brand = {"brand": kept.get("cpu", {}).get("brand_raw", "")}
    machine_info.clear()
    machine_info.update(kept | {"cpu": brand})


def pytest_benchmark_update_commit_info(
    config: Any, commit_info: dict[str, Any]
) -> None:
    commit_info.clear()


def pytest_benchmark_update_json(
    config: Any, benchmarks: list[Any], output_json: dict[str, Any]
) -> None:
    """Times to three digits: more is noise, and a large file."""
    for one in output_json["benchmarks"]:
        one["options"] = {}
        one["stats"] = {
            key: float(f"{value:.3g}") if type(value) is float else value
            for key, value in one["stats"].items()
        }
