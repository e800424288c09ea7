"""`fastsmtp doctor`: what on this machine keeps the server from running well."""

import argparse
import json

from fastsmtp.cli import FAILED, MISUSED, OK
from fastsmtp.cli.terminal import config_argument, json_argument


def arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)
    json_argument(parser)


def run(args: argparse.Namespace) -> int:
    from fastsmtp import config
    from fastsmtp.cli.diagnosis import Finding, examine

    path = config.find(args.config)
    found, problems = config.check(path)
    findings = [
        Finding(
            "configuration",
            "bad" if problem.severity == "error" else "doubtful",
            str(problem),
        )
        for problem in problems
    ]
    if not problems:
        findings.append(Finding("configuration", "good", str(path)))
    if found is not None:
        findings += examine(found)
    for finding in findings:
        print(json.dumps(finding._asdict()) if args.json else finding)
    if found is None:
        return MISUSED
    return FAILED if any(f.verdict == "bad" for f in findings) else OK
