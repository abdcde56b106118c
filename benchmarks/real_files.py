"""Whether real public clinical files come in by the wizard's own mapping: each is recognised, read whole, converted, and then stored.

Usage: benchmarks/real_files.py FOLDER. The folder holds the public sets under the names in EXPECTED (ACI-Bench, MeQSum, MEDEC,
MedicationQA, MEDIQA-RRS, MTS-Dialog, SDOH-NLI, NCBI disease, MIRAGE's multiple choice, PIT's wiki, MedQuAD, PubMedQA); what is absent is
said, and nothing is fetched. Prints a line for each file and `files`, `recognised`, `whole` (every row became a record), `stored`
(imported through the API, nothing refused), `rows`, `missing`.

With --no-store no database is needed; else a PostgreSQL (DATABASE_URL, else the embedded one) on which it may create and drop one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

# File → rows that are in it, by the sets' own papers and a count by hand.
EXPECTED = {
    "aci-bench/train.csv": 67, "aci-bench/valid.csv": 20, "aci-bench/clinicalnlp_taskB_test1.csv": 40,
    **{
        f"aci-bench/predictions/{system}.csv": 40
        for system in (
            "BART_large_clinicalnlp_taskB_test1_full", "BioBART_clinicalnlp_taskB_test1_full", "LED_clinicalnlp_taskB_test1_full",
            "LED_pubmed_clinicalnlp_taskB_test1_full", "UMLS_similarity_clinicalnlp_taskB_test1",
            "bart-large-xsum-samsum_clinicalnlp_taskB_test1_full",
        )
    },
    "meqsum/MeQSum.xlsx": 1000, "medec-ms/test.csv": 597, "medicationqa/MedInfo2019-QA-Medications.xlsx": 690,
    "mediqa-rrs/indiana_dev.json": 2000, "mts-dialog/train.csv": 1201, "mts-dialog/validation.csv": 100, "sdoh-nli/validation.csv": 4033,
    "sdoh-nli/test.csv": 4212, "ncbi-disease/train.tsv": 5424, "ncbi-disease/devel.tsv": 923, "ncbi-disease/test.tsv": 940,
    "mcq/medqa-us-4opt-test.jsonl": 1273, "mcq/medmcqa-dev.jsonl": 4183, "mcq/pubmedqa-test.json": 500, "mcq/mmlu-anatomy.csv": 135,
    "mcq/mmlu-clinical_knowledge.csv": 265, "mcq/mmlu-college_biology.csv": 144, "mcq/mmlu-college_medicine.csv": 173,
    "mcq/mmlu-medical_genetics.csv": 100, "mcq/mmlu-professional_medicine.csv": 272, "pit-wiki2023/doc.jsonl": 256,
    "pit-wiki2023/qa.jsonl": 1743, "corpora/medquad.jsonl.gz": 14657, "corpora/pubmedqa-ori_pqal.json": 1000,
}  # fmt: skip


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--no-store", action="store_true", help="read only")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    return parser.parse_args()


def read(path: Path) -> dict[str, Any]:
    """What the wizard proposes for a file, and what its whole becomes by that."""
    from annotation import reading
    from annotation.records import Problems

    began = time.process_time()
    found = reading.detect(path)
    problems, rows, records = Problems(), 0, 0
    if found.format and found.shape:
        shape = reading.SHAPES[found.shape]
        for place, row in reading.rows(path, format=found.format, problems=problems):
            rows += 1
            records += sum(1 for _ in shape.convert(place, row, found.mapping, problems))
    return {
        "format": found.format, "shape": found.shape, "mapping": dict(found.mapping), "confidence": found.confidence,
        "reason": found.reason,
        "rows": rows, "records": records, "problems": problems.total + len(found.problems), "told": dict(problems.counts),
        "cpu_seconds": round(time.process_time() - began, 2),
    }  # fmt: skip


def store(house: Any, folder: Path, name: str) -> dict[str, Any]:
    """The same through the API, with nothing said but a name, a licence, and that rows which say the same twice may be left out.

    Without the quarantine: these sets are played or written for the purpose, and what the scan finds in them is nobody's.
    """
    path = folder / name
    # What systems wrote for the test encounters belongs to these.
    target = "aci-bench/clinicalnlp_taskB_test1.csv" if name.startswith("aci-bench/predictions/") else name
    status, state, problems, said = house.bring(
        path.read_bytes(), name=path.name, target=target[:80], group="other", leave_out_doubles="true", quarantine="false"
    )
    return {
        "status": status,
        "state": state,
        "stored": said.get("counts", {}).get("stored"),
        "first": problems[:1],
        "counts": said.get("counts"),
    }


def main() -> None:
    arguments = parse()
    missing = [name for name in EXPECTED if not (arguments.folder / name).is_file()]
    present = [name for name in EXPECTED if name not in missing]
    found = {name: read(arguments.folder / name) for name in present}
    if not arguments.no_store and present:
        from benchmarks.bad_inputs import with_a_database

        def act() -> None:
            from benchmarks.bad.cases import House

            house = House()
            for name in present:
                found[name]["import"] = store(house, arguments.folder, name)

        with_a_database(act)
    for name, one in found.items():
        kept = f", {one['import']['state']}: {one['import']['stored']} rows" if "import" in one else ""
        print(f"{name}: {one['format']}, {one['shape']}, {one['records']} of {one['rows']} rows, {one['problems']} problems{kept}")
        print(f"    {one['reason']} {json.dumps(one['mapping'], ensure_ascii=False)}")
        if one.get("import", {}).get("first"):
            print(f"    {one['import']['first'][0]['code']}: {one['import']['first'][0]['message']}")
    for name in missing:
        print(f"{name} is missing")
    result = {
        "files": len(found), "recognised": sum(bool(one["shape"]) for one in found.values()),
        "whole": sum(one["records"] == one["rows"] == EXPECTED[name] and not one["problems"] for name, one in found.items()),
        "rows": sum(one["records"] for one in found.values()),
        "stored": None if arguments.no_store else sum(one["import"]["state"] == "stored" for one in found.values()),
        "missing": missing,
    }  # fmt: skip
    if arguments.json:
        print(json.dumps(result))
    sys.exit(0 if found and result["whole"] == len(found) and result["stored"] in (None, len(found)) else 1)


if __name__ == "__main__":
    main()
