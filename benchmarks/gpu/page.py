"""The report of a check, as JSON and as a Markdown page; written atomically, so that it survives a kill."""

import json
import os

from rows import ROWS, flops, least_bytes


def table_of(parts):
    """The results of each row: {name: {"seconds": ..., "times_torch": ...}}."""
    values = {part["name"]: part.get("values", {}) for part in parts}
    rates, table = values.get("torch: rates", {}), {}
    for name, row in ROWS.items():
        found = values.get(f"row: {name}", {}) | values.get(f"torch: {name}", {})
        seconds = found.get("seconds")
        if seconds:
            found["samples_per_second"] = row.batch / seconds
            found["flops_per_second"] = flops(row) / seconds
            if "torch_seconds" in found:
                found["times_torch"] = found["torch_seconds"] / seconds
            if {"flops_rate", "bytes_rate"} <= rates.keys():
                floor = max(flops(row) / rates["flops_rate"], least_bytes(row) / rates["bytes_rate"])
                found["times_floor"] = seconds / floor
        table[name] = found
    return table


def markdown(report):
    """The report as Markdown."""
    smoke = next((part.get("values", {}) for part in report["parts"] if part["name"] == "smoke"), {})
    lines = ["# Backend `cuda` on a GPU", ""]
    if "why_not" in smoke:
        return "\n".join([*lines, f"**Not run on a GPU.** {smoke['why_not']}", "", *_targets(), ""])
    gpu, capability = smoke.get("gpu", "GPU did not respond"), smoke.get("capability", "unknown")
    lines += [f"{gpu}, compute capability {capability}, on {report['platform']}."]
    lines += [", ".join(f"{name} {version}" for name, version in report["versions"].items()) + ".", ""]
    if report["problems"]:
        lines += ["Missing packages, or unsuitable versions:", "", *(f"- {it}" for it in report["problems"]), ""]
    lines += ["| part | result | seconds | |", "|---" * 4 + "|"]
    for part in report["parts"]:
        lines.append(f"| {part['name']} | {part['state']} | {part.get('wall', '')} | {_cell(part['said'])} |")
    lines += ["", "| row | seconds of a step | samples/s | x torch | x floor | kernels | target |", "|---" * 7 + "|"]
    for name, row in table_of(report["parts"]).items():
        cells = [_number(row, "seconds", ".3g"), _number(row, "samples_per_second", ",.0f")]
        cells += [_number(row, "times_torch", ".2f"), _number(row, "times_floor", ".2f"), row.get("kernels", "-")]
        lines.append(f"| {name} | {' | '.join(cells)} | {ROWS[name].target} |")
    return "\n".join([*lines, "", "Medians, measured with CUDA events. This page is written by `make gpu-check`.", ""])


def _number(row, name, form):
    return format(row[name], form) if name in row else "-"


def _cell(text):
    return text.replace("|", "\\|")


def _targets():
    return ["What `make gpu-check` will measure:", "", "| row | target on an H200 |", "|---|---|",
            *(f"| {name} | {row.target} |" for name, row in ROWS.items())]  # fmt: skip


def write(report, out):
    """Write the current state of the report."""
    for name, text in (("report.json", json.dumps(report, indent=1) + "\n"), ("REPORT.md", markdown(report))):
        temporary = out / f"{name}.part"
        temporary.write_text(text)
        os.replace(temporary, out / name)
