"""The data sets of CLUE+ (arXiv 2505.10717, 6.1 and table 9) and of its table 13: what each asks, where it is to be had, which files a copy
holds. Standard library only: pages and the engine's child read the same table.

No data set comes with Rounds. Names are those of training.suite.published; a stand-in, which only resembles what the paper used, names
what it stands for and never counts towards the paper's averages.
"""

from dataclasses import dataclass
from typing import Literal

Task = Literal["nli", "summary", "qa", "coding", "extraction", "error", "choice"]
Meaning = Literal["bertscore", "umls"]
Access = Literal["public", "credentialed", "unreleased"]


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of a copy, by its path in the copy's folder; or a folder with all below it. ``sha256`` is the published file's, where it may
    be had and was computed."""

    path: str
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """``cap`` is the most new tokens of an answer, ``rows`` how many the published copy has before shots are taken from it (None: not
    stated), ``layout`` what its files hold. ``shot_file`` has the shots where a set has a split of its own for them. ``other`` is another
    form in which a set is given out, read instead where any of it is there. ``meaning`` names what CLUE logs beside ROUGE."""

    name: str
    folder: str
    task: Task
    access: Access
    where: str
    licence: str
    shots: int
    metric: str
    cap: int
    rows: int | None
    files: tuple[File, ...]
    layout: str
    also: tuple[str, ...] = ()
    meaning: tuple[Meaning, ...] = ()
    other: tuple[File, ...] = ()
    other_layout: str = ""
    shot_file: File | None = None
    stands_for: tuple[str, ...] = ()
    note: str = ""


_MIRAGE = "https://github.com/Teddy-XiongGZ/MIRAGE"
_PHYSIONET = "PhysioNet, after credentialing, its training and its data use agreement: https://physionet.org/content/"

_SETS = (
    DataSet(
        name="MedNLI", folder="mednli", task="nli", access="credentialed", where=_PHYSIONET + "mednli/", licence="PhysioNet credentialed",
        shots=3, metric="accuracy", cap=20, rows=1_422, files=(File(path="mednli/mli_test_v1.jsonl"),),
        layout="one JSON object a line with sentence1, sentence2 and gold_label",
    ),
    DataSet(
        name="PLS", folder="pls", task="summary", access="credentialed", where=_PHYSIONET + "bionlp-workshop-2023-task-1a/",
        licence="PhysioNet credentialed", shots=3, metric="rouge1", also=("rouge2", "rougeL"), meaning=("bertscore", "umls"), cap=512,
        rows=237, files=(File(path="pls/BioNLP2023-1A-Test.csv"),),
        layout="CSV with columns Assessment, Subjectives (or Subjective Sections) and Summary",
        note="Problem list summarisation. Which logged metric the paper prints is not stated; ROUGE-1 fits its values.",
    ),
    DataSet(
        name="MeQSum", folder="meqsum", task="summary", access="public", where="https://github.com/abachaa/MeQSum", licence="CC BY 4.0",
        shots=3, metric="rouge1", also=("rouge2", "rougeL"), meaning=("bertscore",), cap=512, rows=1_000,
        files=(File(path="meqsum/MeQSum.xlsx", sha256="abedd939d5014306ca576522416bf69103e85dc8fcf1668a4099e8b84a39eeea"),),
        layout="a workbook with columns File, CHQ and Summary",
    ),
    DataSet(
        name="LongHealth", folder="longhealth", task="choice", access="public", where="https://github.com/kbressem/LongHealth",
        licence="see the repository", shots=0, metric="accuracy", cap=50, rows=400, files=(File(path="longhealth/benchmark_v5.json"),),
        layout="one JSON object of 20 patients, each with texts and 20 questions",
        note="Three tasks of CLUE, 2,000 + 2,000 + 2,000 prompts; the mean over all of them, the paper does not say how they combine.",
    ),
    DataSet(
        name="MeDiSumQA", folder="medisumqa", task="qa", access="credentialed", where=_PHYSIONET + "mimic-iv-note/2.2/ (made by CLUE)",
        licence="PhysioNet credentialed", shots=1, metric="rouge1", also=("rouge2", "rougeL"), meaning=("bertscore", "umls"), cap=512,
        rows=500, files=(File(path="medisumqa/MeDiSumQA.json"),),
        layout="a JSON list, or lines, with discharge_summary (or without_discharge_summary), Question and Answer",
        note="Which logged metric the paper prints is not stated; ROUGE-1 fits its values.",
    ),
    DataSet(
        name="MeDiSumCode", folder="medisumcode", task="coding", access="credentialed",
        where=_PHYSIONET + "mimiciv/2.2/ and mimic-iv-note/2.2/ (made with CLUE's code)", licence="PhysioNet credentialed", shots=1,
        metric="f1", also=("f1_3", "valid"), cap=512, rows=500, files=(File(path="medisumcode/MeDiSumCode.json"),),
        layout="a JSON list, or lines, with text and icd_codes, each with code", note="Which of the three the paper prints is not stated.",
    ),
    DataSet(
        name="RRS QA", folder="rrs-qa", task="qa", access="unreleased",
        where="the authors' rewriting of the MEDIQA 2021 RRS test set, whose reports need Stanford's data use agreement, is not released",
        licence="data use agreement", shots=3, metric="rouge1", also=("rouge2", "rougeL"), cap=512, rows=600,
        files=(File(path="rrs-qa/rrs_qa.jsonl"),), layout="one JSON object a line with findings, question and answer",
    ),
    DataSet(
        name="MedicationQA", folder="medicationqa", task="qa", access="unreleased",
        where="the authors' 485 rewritten answers are not released; the originals stand in for them (MedicationQA originals)",
        licence="none stated", shots=3, metric="rouge1", also=("rouge2", "rougeL"), cap=512, rows=485,
        files=(File(path="medicationqa/medicationqa_485.jsonl"),), layout="one JSON object a line with question and answer",
    ),
    DataSet(
        name="MEDEC", folder="medec-ms", task="error", access="public", where="https://github.com/abachaa/MEDEC", licence="CC BY 4.0",
        shots=2, metric="sentence", also=("flag", "correction"), cap=512, rows=597,
        files=(File(path="medec-ms/test.csv", sha256="f35e2c3c1e4d98ca900394c4fcff14c2a84752e48ddc83698401da6a360c707e"),),
        layout="CSV with columns Text ID, Sentences, Error Flag, Error Sentence ID and Corrected Sentence",
        note="The MS part; the UW part needs an agreement. The two shots are written by us, one with an error and one without.",
    ),
    DataSet(
        name="ACI-Bench", folder="aci-bench", task="summary", access="public", where="https://github.com/wyim/aci-bench",
        licence="CC BY 4.0", shots=1, metric="rouge1", also=("rouge2", "rougeL"), cap=512, rows=40,
        files=(
            File(path="aci-bench/clinicalnlp_taskB_test1.csv", sha256="5cc4008e68545f84913744a8e493a58bdf17ba7e1b7a0be46d6943d6bfca9471"),
        ),
        shot_file=File(path="aci-bench/train.csv", sha256="6c778d4ac5e6cc6f1964786f9286e8d765c210f22ed6b57f83aff8497409cea4"),
        layout="CSV with columns encounter_id, dialogue and note", note="The paper does not state its split; this is the first test split.",
    ),
    DataSet(
        name="SDoH", folder="sdoh", task="extraction", access="credentialed",
        where="the 2022 n2c2/UW task on social determinants of health: https://n2c2.dbmi.hms.harvard.edu/, by data use agreement",
        licence="data use agreement", shots=4, metric="type_f1", cap=512, rows=None, files=(File(path="sdoh/sdoh.jsonl"),),
        layout="one JSON object a line with text and entities, a list of objects with entity, label and value",
        other=(File(path="sdoh/test"),), other_layout="the track's own notes, each NOTE.txt with its NOTE.ann, at any depth",
        note="The paper states neither split nor how entity and label become the scorer's tag; ours is entity and label together.",
    ),
    DataSet(
        name="ICD10CM", folder="icd10cm", task="choice", access="public",
        where="generated here from the full code list of the package simple-icd-10-cm", licence="MIT (package), public domain (codes)",
        shots=3, metric="accuracy", cap=1, rows=None, files=(), layout="none: nothing is read",
        other=tuple(
            File(path=f"medconceptsqa/icd10cm_{level}/{split}-00000-of-00001.parquet")
            for level in ("easy", "medium", "hard")
            for split in ("test", "dev")
        ),
        other_layout="MedConceptsQA as published (huggingface.co/datasets/ofir408/MedConceptsQA): test and dev of three levels",
        note="Easy, medium and hard questions as MedConceptsQA makes them; the mean over the three levels, which table 12 suggests.",
    ),
    DataSet(
        name="MedQA", folder="mcq", task="choice", access="public", where=_MIRAGE, licence="MIT", shots=0,
        metric="accuracy", cap=1, rows=1_273,
        files=(File(path="mcq/medqa-us-4opt-test.jsonl", sha256="c3b905ccfa66152dc25afbcb2c10e86c0bdb208824f0658fcdb2c040f60a2beb"),),
        layout="one JSON object a line with question, options and answer_idx",
    ),
    DataSet(
        name="MedMCQA", folder="mcq", task="choice", access="public", where=_MIRAGE, licence="MIT", shots=0,
        metric="accuracy", cap=1, rows=4_183,
        files=(File(path="mcq/medmcqa-dev.jsonl", sha256="a2b5f53890f4e742b728378fb847bc5338088d48ea01218676379f587270af31"),),
        layout="one JSON object a line with question, opa, opb, opc, opd and cop (1 to 4)",
    ),
    DataSet(
        name="PubMedQA", folder="mcq", task="choice", access="public", where=_MIRAGE, licence="MIT", shots=0,
        metric="accuracy", cap=1, rows=500,
        files=(File(path="mcq/pubmedqa-test.json", sha256="f420f49d97516329d81f62d7d454055e3a063dbd0913ebaff915993bb321cbab"),),
        layout="one JSON object, by number, of objects with QUESTION, CONTEXTS and final_decision",
    ),
    DataSet(
        name="MMLU-med", folder="mcq", task="choice", access="public", where=_MIRAGE, licence="MIT", shots=0,
        metric="accuracy", cap=1, rows=1_089,
        files=(
            File(path="mcq/mmlu-anatomy.csv", sha256="966dfd5c4579885ebdb8c05d6754ae5834f672632586d8595be3c0f9360e6f4e"),
            File(path="mcq/mmlu-clinical_knowledge.csv", sha256="06a1ea973000d5ef5d2664c4ac1c68d0423f1cab6b3b682be7942633740811f1"),
            File(path="mcq/mmlu-college_biology.csv", sha256="e1204cb9d19887ea266145f038b5d4cc1fbc33d7efce186259c4ecca1cbe3119"),
            File(path="mcq/mmlu-college_medicine.csv", sha256="9c533cfff89edaa317b2e79bbabcdd5e2e522e019679cb4a6475e5f2a1861b1e"),
            File(path="mcq/mmlu-medical_genetics.csv", sha256="cc30c698e94f12c00e610a39c62d1a1d9587fa53c005359317346081f722c5e6"),
            File(path="mcq/mmlu-professional_medicine.csv", sha256="a034bf0dda10cb0848bdd3097eb1547d61ca2dac9e9b871563691621c38d51e9"),
        ),
        layout="CSV without a header: question, four options, letter",
    ),
    DataSet(
        name="MedicationQA originals", folder="medicationqa", task="qa", access="public",
        where="https://github.com/abachaa/Medication_QA_MedInfo2019", licence="none stated", shots=3, metric="rouge1",
        also=("rouge2", "rougeL"), cap=512, rows=674, stands_for=("MedicationQA",),
        files=(
            File(
                path="medicationqa/MedInfo2019-QA-Medications.xlsx",
                sha256="4f13d0e3b195bd6a5d72a1872f9118cb5f69fd02c370001695330cfc9e3b5832",
            ),
        ),
        layout="a workbook with columns Question and Answer",
        note="Of the file's 690 rows 13 have no answer and 3 repeat another; without them it has the 674 its authors count.",
    ),
    DataSet(
        name="Indiana RRS", folder="mediqa-rrs", task="summary", access="public", where="https://github.com/abachaa/MEDIQA2021",
        licence="none stated", shots=3, metric="rouge1", also=("rouge2", "rougeL"), cap=512, rows=2_000, stands_for=("RRS QA",),
        files=(File(path="mediqa-rrs/indiana_dev.json", sha256="9fe13f297050fde393400db741ec4ca8f1c4893aee052db2d15f66968c2c6e52"),),
        layout="a JSON list of objects with findings and impression",
    ),
    DataSet(
        name="SDOH-NLI", folder="sdoh-nli", task="nli", access="public", where="https://github.com/google-research-datasets/SDOH-NLI",
        licence="CC BY 4.0", shots=4, metric="accuracy", cap=20, rows=4_212, stands_for=("SDoH", "MedNLI"),
        files=(File(path="sdoh-nli/test.csv", sha256="166e929b4fe1a796b910c2b3d62b13f0e8582addce7e8e471c6abd1d3b6c1333"),),
        shot_file=File(path="sdoh-nli/validation.csv", sha256="a7b3cd8d7fb6d467670c8ec6a53e581c66ec382020dbdaced0778c0f14df9f65"),
        layout="CSV with columns premise, hypothesis and label (True or False)",
    ),
)  # fmt: skip
SETS: dict[str, DataSet] = {one.name: one for one in _SETS}
CLUE_PLUS: tuple[str, ...] = (
    "MedNLI", "PLS", "MeQSum", "LongHealth", "MeDiSumQA", "MeDiSumCode", "RRS QA", "MedicationQA", "MEDEC", "ACI-Bench", "SDoH", "ICD10CM",
)  # fmt: skip
CHOICES: tuple[str, ...] = ("MedQA", "MedMCQA", "PubMedQA", "MMLU-med")
STAND_INS: tuple[str, ...] = tuple(one.name for one in _SETS if one.stands_for)
