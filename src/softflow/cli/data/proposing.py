"""What `softflow data propose` and `softflow data agreement` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from rich.console import Console

from softflow.cli.data.label_options import Agreement, Propose
from softflow.cli.words import print_some
from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, SoftflowError
from softflow.labelling.agreement import Agreement as PairAgreement
from softflow.labelling.agreement import agreements
from softflow.labelling.event_kinds import read_event_kinds
from softflow.labelling.proposals import ProposalFolder, ProposedEvent, Proposer
from softflow.labelling.proposals import propose as proposal_of
from softflow.labelling.quality import WITHIN_S, measured
from softflow.labelling.rules import RuleProposer
from softflow.labelling.settings import parse_settings, settings_as
from softflow.utils.console import say
from softflow.utils.files import real_path
from softflow.utils.progress import ConsoleProgress


def propose(options: Propose) -> int:
    """Write a proposal for each episode; 1 if some could not be proposed for."""
    store = EpisodeStore.open(options.store)
    settings = parse_settings(options.set)
    if options.measure:
        _require_unlearned(options, settings)
    with ConsoleProgress(Console(stderr=True)) as progress:
        proposer = _proposer(options.by, store, settings, progress)
        say(f"{proposer.name}, version {proposer.version}")
        if proposer.note:
            say(proposer.note)
        if options.measure:
            _measure(options, proposer, store)
            return 0
        lines, failed = _write(proposer, store, _episodes(options, store), progress)
    print_some(lines, options.show, "--show")
    for line in failed:
        say(f"careful: {line}", to_errors=True)
    say(f"{len(lines)} proposals; softflow label {options.store} shows them")
    return 1 if failed else 0


def _require_unlearned(options: Propose, settings: Mapping[str, str]) -> None:
    """Raise ConfigError if a classifier would be measured on labels that it learned from."""
    learned_from = Path(settings.get("labels") or options.store)
    if options.by == "classifier" and real_path(learned_from) == real_path(options.store):
        raise ConfigError(
            "the classifier would have learned from these labels, and says without --measure how "
            "good it is; to measure it here let it learn elsewhere: --set labels=OTHER_STORE"
        )


def _measure(options: Propose, proposer: Proposer, store: EpisodeStore) -> None:
    """Say how good it is where people have labelled."""
    indices = options.episodes or range(len(store))
    found = measured(proposer, store, read_event_kinds(store.path), indices)
    for name, quality in found.items():
        late = median(quality.differences) / store.spec.control_hz if quality.hits else 0.0
        say(f"{name}, within {WITHIN_S} s: {quality.told()}; {late:+.2f} s late (median)")
    if not found:
        say(f"it proposes nothing in the labelled episodes of '{store.path}'")


def _write(
    proposer: Proposer, store: EpisodeStore, indices: Sequence[int], progress: ConsoleProgress
) -> tuple[list[str], list[str]]:
    """A line for every proposal written, and one for every episode that failed.

    What is wrong with the first is mostly wrong with all, and is raised.
    """
    folder, lines, failed = ProposalFolder(store), list[str](), list[str]()
    progress.begin("propose", len(indices))
    for done, index in enumerate(indices, 1):
        try:
            proposal = proposal_of(proposer, store, index)
            folder.write(index, proposal)
        except SoftflowError as error:
            if done == 1:
                raise
            failed.append(f"episode {index}: {error}")
        else:
            events = ", ".join(map(_event_told, proposal.events))
            lines.append(f"episode {index}: {events or 'nothing'}")
        progress.advance(done)
    return lines, failed


def _event_told(one: ProposedEvent) -> str:
    sure = "" if one.confidence == 1 else f" ({one.confidence:.2f})"
    return f"{one.event.name or one.event.kind} at {one.event.step}{sure}"


def _episodes(options: Propose, store: EpisodeStore) -> list[int]:
    if options.episodes:
        return list(dict.fromkeys(options.episodes))
    return [i for i in range(len(store)) if options.all or store.newest_label(i) is None]


def _proposer(
    name: str, store: EpisodeStore, given: Mapping[str, str], progress: ConsoleProgress
) -> Proposer:
    """What `--with` names; only what is named is loaded."""
    kinds = read_event_kinds(store.path)
    if name == "vlm":
        from softflow.labelling.vlm.proposer import VlmProposer, VlmSettings

        return VlmProposer(settings_as(VlmSettings, given, "vlm"), kinds)
    if name != "classifier":
        return RuleProposer(name, kinds, given)
    from softflow.labelling.classifier.learning import ClassifierSettings, train_classifier

    settings = settings_as(ClassifierSettings, given, "the classifier")
    learned_from = EpisodeStore.open(settings.labels) if settings.labels else store
    return train_classifier(learned_from, kinds, settings, progress)


def agreement(options: Agreement) -> None:
    """Print a table a pair of annotators, then where they do not agree."""
    if not options.match_s >= 0:
        raise ConfigError(f"--match-s is {options.match_s}; give seconds")
    store = EpisodeStore.open(options.store)
    histories = {index: store.labels(index) for index in range(len(store))}
    pairs = agreements(histories, store.spec.control_hz, options.match_s)
    if not pairs:
        say(f"no episode of '{options.store}' has labels by two annotators")
    for pair in pairs:
        say(_told(pair))
        disagreements = [f"  episode {index}" for index in pair.disagreements]
        print_some(disagreements, options.show, "--show")


def _told(pair: PairAgreement) -> str:
    kappa = pair.kappa
    value = "not known, both always say the same"
    if kappa.value is not None:
        value = f"{kappa.value:.2f} (95 % interval {kappa.low:.2f} to {kappa.high:.2f})"
    lines = [
        f"{pair.annotators[0]} and {pair.annotators[1]}: {kappa.num_episodes} episodes by both",
        f"  outcomes the same in {kappa.observed:.0%}; Cohen's kappa {value}",
    ]
    if pair.differences_s:
        sizes = [abs(difference) for difference in pair.differences_s]
        lines.append(
            f"  {len(sizes)} events seen by both, {median(sizes):.2f} s apart (median), "
            f"{max(sizes):.2f} s at most"
        )
    alone = zip(pair.annotators, (pair.only_first, pair.only_second), strict=True)
    lines += [f"  {count} events seen by {name} alone" for name, count in alone if count]
    lines.append(f"  {len(pair.disagreements)} episodes on which they do not agree")
    return "\n".join(lines)
