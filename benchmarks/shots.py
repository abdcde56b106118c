"""The pictures of benchmarks/gallery.py: what each is called, whose screen it shows, and in which state."""

from __future__ import annotations

from dataclasses import dataclass

JOINING, RATING, LEADING, TRAINING, RUNNING = (
    "Joining",
    "The clinician",
    "The lead clinician",
    "The trainer",
    "The administrator and the steward",
)
ROLES = (JOINING, RATING, LEADING, TRAINING, RUNNING)


@dataclass(frozen=True)
class Shot:
    """One picture. `important` ones are taken dark and at 400 pixels too; `full` shows the whole page."""

    name: str
    role: str
    caption: str
    important: bool = False
    full: bool = False
    kept: bool = True


SHOTS = [
    Shot("invitation-link", JOINING, "the link right after it was made: shown once, copied by hand."),
    Shot("join", JOINING, "what the link opens: who invites, what for, how long it takes.", important=True),
    Shot("join-error", JOINING, "a passphrase that is too short: said what to do, the rest is kept."),
    Shot("join-expired", JOINING, "a link that has run out: a new one can be asked for."),
    Shot("consent", JOINING, "what becomes of judgements, with its version; nothing is rated before."),
    Shot("profile-error", JOINING, "a profile sent incomplete: each fault at its field."),
    Shot("queue-empty", RATING, "the queue before anybody has asked for anything."),
    Shot("queue", RATING, "a campaign in each state: to go on with, behind a qualification, with colleagues, paused, done, closed.",
         important=True, full=True),
    Shot("qualification", RATING, "before a qualification: what it is and what passing opens."),
    Shot("qualification-again", RATING, "after a first try that was not enough: what was right, and the second try.", kept=False),
    Shot("qualification-passed", RATING, "a qualification passed."),
    Shot("compare-feedback", RATING, "in a qualification alone: what was expected, and why."),
    Shot("compare", RATING, "a pair as it comes: instruction and input, two blinded responses, one key each verdict.", important=True),
    Shot("compare-verdict", RATING, "a verdict chosen; Enter sends it.", kept=False),
    Shot("compare-reasons", RATING, "two of at most three reasons chosen by digits."),
    Shot("compare-flag", RATING, "a safety flag of B: severity and kind."),
    Shot("compare-mark", RATING, "marking an error by keyboard: the sentence under the cursor, its kind, then its severity."),
    Shot("compare-marked", RATING, "an error marked in the text."),
    Shot("compare-edit", RATING, "the better response edited: the change is tracked and counted."),
    Shot("compare-diff", RATING, "what differs between the two responses, marked in each, never by colour alone.", important=True),
    Shot("compare-find", RATING, "finding a word in instruction and input.", kept=False),
    Shot("compare-cannot", RATING, "“cannot judge” asks why."),
    Shot("compare-help", RATING, "guideline and keys on one screen.", kept=False),
    Shot("compare-json", RATING, "JSON: whether each response is valid, and why not."),
    Shot("compare-json-diff", RATING, "JSON: what differs, key by key."),
    Shot("compare-lease", RATING, "the pair's time is nearly over: more by one key."),
    Shot("compare-late", RATING, "the time was over: the answer is kept either way.", kept=False),
    Shot("compare-offline", RATING, "the network is gone: the answer waits and the work goes on."),
    Shot("compare-error", RATING, "without JavaScript: a rationale is missing, nothing is lost."),
    Shot("sitting", RATING, "the card at a session's end: pairs, minutes, what happens next.", important=True),
    Shot("history-empty", RATING, "one's own answers, before the first.", kept=False),
    Shot("history", RATING, "one's own answers, each with its way back to change it."),
    Shot("history-none", RATING, "a filter that leaves nothing.", kept=False),
    Shot("keys", RATING, "every key of the compare screen, to be exchanged or switched off."),
    Shot("impact-empty", RATING, "my impact, before the first judgement.", kept=False),
    Shot("impact", RATING, "my impact, after a training: what one's judgements came to, no model named (the training is pretended).",
         important=True, full=True),
    Shot("disputes-empty", LEADING, "nothing to settle."),
    Shot("disputes", LEADING, "what has to be settled, the gravest first.", important=True),
    Shot("dispute", LEADING, "a pair flagged as harmful: votes by side, nobody's name, no model's name.", important=True, full=True),
    Shot("dispute-changed", LEADING, "a pair ruled on before whose votes have changed since.", full=True),
    Shot("dispute-error", LEADING, "less harm found without saying why: nothing is lost.", kept=False, full=True),
    Shot("safety-empty", LEADING, "the safety board without a flag.", kept=False),
    Shot("safety", LEADING, "the safety board: flags by kind and task, rulings, what waits.", important=True, full=True),
    Shot("defects-empty", LEADING, "no sample reported.", kept=False),
    Shot("defects", LEADING, "samples that raters could not judge for a fault of their own."),
    Shot("qualifications", LEADING, "qualifications and who waits for a lead."),
    Shot("gold", LEADING, "who qualified, who has no try left and may be given another."),
    Shot("progress-empty", LEADING, "a campaign's figures before the first judgement.", kept=False),
    Shot("progress-small", LEADING, "few judgements: “n too small” instead of numbers.", full=True),
    Shot("progress", LEADING, "nearly 400 simulated judgements: burn-up, agreement, side and length, time, ranking.", important=True,
         full=True),
    Shot("calibration", LEADING, "each rater by pseudonym while the campaign runs.", full=True),
    Shot("campaigns-empty", TRAINING, "the first step when nothing is there.", kept=False),
    Shot("campaigns", TRAINING, "campaigns in every state."),
    Shot("campaign-new", TRAINING, "a campaign being set up; the panel says what it asks of people and what it can find."),
    Shot("campaign-warning", TRAINING, "the same with too few pairs: warned before anybody's hour is spent."),
    Shot("campaign-refused", TRAINING, "an informative draw on the evaluation split: refused, and why."),
    Shot("campaign-draft", TRAINING, "a draft with what opening will lock.", full=True, kept=False),
    Shot("campaign", TRAINING, "an open campaign: progress, people, the locked protocol with its digest.", full=True),
    Shot("campaign-paused", TRAINING, "a paused campaign.", kept=False),
    Shot("campaign-closed", TRAINING, "a closed campaign with its snapshot.", full=True),
    Shot("campaign-members", TRAINING, "who judges in it: left out, taken back, relieved.", kept=False),
    Shot("progress-closed", TRAINING, "the figures of a closed campaign: what wrote the texts is named now.", full=True),
    Shot("rubrics", TRAINING, "the rubric studio: templates, versions, who uses them."),
    Shot("rubric", TRAINING, "what a version changed.", full=True, kept=False),
    Shot("rubric-error", TRAINING, "a rubric edited: the fault is named with its place."),
    Shot("launch", TRAINING, "a run about to begin: four fields, what was checked beforehand, how long it will take and what that costs.",
         full=True),
    Shot("run", TRAINING, "a DPO run while it learns: how it goes in plain words, its curves, what is left."),
    Shot("run-stopped", TRAINING, "the same, stopped and kept: all its curves, and what to do next.", full=True, kept=False),
    Shot("merge-lab", TRAINING, "the merge lab: base, experts, dials and the same as mergekit's YAML; what was checked.", full=True),
    Shot("merge-preview", TRAINING, "a merge on trial: twenty prompts answered by base, expert and merge; no model is made.", kept=False),
    Shot("merge-recipe", TRAINING, "a recipe and what came of it: what each expert kept, and what happened in which layer.",
         important=True, full=True),
    Shot("search-merge", TRAINING, "a search for a merge's numbers about to begin, on validation questions.", kept=False),
    Shot("models", TRAINING, "the hub: every model with who uses it, what is missing, what room its files take."),
    Shot("model", TRAINING, "a model: identity, aliases, card, ways to take it away, lineage, figures.", full=True),
    Shot("model-import", TRAINING, "bringing a model in from a folder: nothing there yet.", kept=False),
    Shot("card", TRAINING, "writing on a model's card; what is missing is named on the card itself."),
    Shot("extract", TRAINING, "an adapter about to be extracted from an expert: base, rank, what it takes."),
    Shot("extracted", TRAINING, "how near the extracted adapter comes, layer by layer.", full=True),
    Shot("lineage", TRAINING, "what a merge is made of, up to the texts; each box leads on.", important=True, full=True),
    Shot("evidence", TRAINING, "the evidence of a blinded study: its pack, the digest, how anybody verifies it.", full=True, kept=False),
    Shot("loop", TRAINING, "a campaign's unattended loop: its policy, what the next round waits for, its rounds.", important=True,
         full=True, kept=False),
    Shot("round-working", TRAINING, "a round that nobody pressed a button for, while its model is trained.", kept=False),
    Shot("proposal", TRAINING, "what a round has made: its stages, its gates, and what people can do.", important=True, full=True,
         kept=False),
    Shot("proposals", TRAINING, "the rounds of every campaign's loop.", kept=False),
    Shot("jobs", TRAINING, "background work: what runs, what waits in which turn, on which workers.", full=True),
    Shot("job", TRAINING, "a job that failed for its memory: both figures, what to do, its tries."),
    Shot("invitations-empty", RUNNING, "nobody invited yet.", kept=False),
    Shot("invitations", RUNNING, "invitations: open, used, run out with a new link asked for, revoked."),
    Shot("people", RUNNING, "people and their roles."),
    Shot("person", RUNNING, "one person: roles, consent, sessions, a new passphrase.", kept=False),
    Shot("consent-texts", RUNNING, "the consent text in force and its versions.", kept=False),
    Shot("audit", RUNNING, "who did what: ids and digests, never clinical text."),
]  # fmt: skip
