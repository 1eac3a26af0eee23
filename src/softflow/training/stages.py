"""SOFT-FLOW on one page: the four stages of Alg. 3, in order.

Read this first. Losses are in `losses.py`, one update a loss in `learner.py`; `run.py` holds what
every stage needs and the paper does not mention: data, checkpoints, resuming, logging, episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from softflow.errors import NumericalError
from softflow.training.calibration import calibrate
from softflow.training.config import STAGES, StageName
from softflow.training.diagnostics import diagnose
from softflow.training.planned_work import planned_work
from softflow.training.run import Run


def imitation(run: Run) -> None:
    """I. Maximise the likelihood of the successful demonstrations (Eq. 8) -> pi_theta0."""
    stage = run.config.imitation
    sampler = run.data.sampler("imitation", run.data.imitated, stage.batch_size)
    with run.batches("imitation", sampler, stage.num_updates) as batches:
        measure = run.held_out.after
        for update in run.updates("imitation", stage, 0, stage.num_updates, after=measure):
            batch = run.learner.prepared(batches.batch(update))
            run.log(run.learner.imitation_update(batch, stage))


def critic_warmup(run: Run) -> None:
    """II. Learn the value of the frozen pi_theta0 on all offline data (Eq. 7), until it settles."""
    stage = run.config.critic_warmup
    ahead = run.next_chunks(run.data.offline, stage)
    sampler = run.data.sampler("critic_warmup", run.data.offline, stage.batch_size)
    with run.batches("critic_warmup", sampler, stage.num_updates) as batches:
        settled = run.critic_settled
        for update in run.updates("critic_warmup", stage, 0, stage.num_updates, until=settled):
            batch = run.learner.prepared(batches.batch(update))
            run.log(run.learner.critic_update(batch, stage, ahead))


def offline_rl(run: Run) -> None:
    """III. Critic as above; policy maximises Q - lambda * imitation loss, all offline."""
    stage = run.config.offline_rl
    sampler = run.data.sampler("offline_rl", run.data.offline, stage.batch_size)
    with run.batches("offline_rl", sampler, stage.num_updates) as batches:
        for update in run.updates("offline_rl", stage, 0, stage.num_updates):
            batch = run.learner.prepared(batches.batch(update))
            critic_metrics = run.learner.critic_update(batch, stage)
            run.log(critic_metrics | run.learner.actor_update(batch, stage, stage.bc_coef))


def online_rl(run: Run) -> None:
    """IV. In rounds: collect episodes with Alg. 2, add them, update on a rho-mixture.

    The imitation term sees the successful offline rows alone, unless `imitates` says more; lambda
    may decay from round to round. Where the critic has to learn a new place first (V-C, Fig. 5),
    the policy waits `critic_rounds`. `calibrate` and the editor are ours: nothing unless episodes
    explore, or the critic has one (`--model.critic.edit-scale`). Offline it would learn nothing
    true: no episode tells what becomes of chunks that nobody played.
    """
    stage = run.config.online_rl
    for round_index in range(stage.num_rounds):
        first = round_index * stage.num_updates
        stop = first + stage.num_updates
        run.position.enter("online_rl")
        run.collect(round_index)
        calibrate(run, round_index)
        bc_coef = stage.bc_coef * stage.bc_decay**round_index
        with run.batches("online_rl", run.mixture(round_index), stop) as batches:
            for update in run.updates("online_rl", stage, first, stop):
                batch = run.learner.prepared(batches.batch(update))
                metrics = run.learner.critic_update(batch, stage)
                if round_index >= stage.critic_rounds:
                    metrics |= run.learner.actor_update(batch, stage, bc_coef)
                    metrics |= run.learner.editor_update(batch)
                run.log(metrics)
        if run.position.update_step == stop:
            label = f"online_rl_round_{round_index + 1:02d}"
            run.evaluate(label, "online_rl", run.config.round_eval_episodes)


STAGE_FUNCTIONS: dict[StageName, Callable[[Run], None]] = {
    "imitation": imitation,
    "critic_warmup": critic_warmup,
    "offline_rl": offline_rl,
    "online_rl": online_rl,
}


def run_stages(run: Run, stages: Sequence[StageName] = STAGES) -> None:
    """Run the chosen stages in their order; each is measured, diagnosed and saved at its end.

    Raises:
        NumericalError: a NaN or infinity appeared; the message says where and how to replay it.
    """
    for gap in run.position.gaps(stages, run.began_after):
        run.progress.say(gap)
    run.progress.expect(planned_work(run.config, stages, run.position, len(run.online)))
    for stage in STAGES:
        if stage in stages and not run.position.is_past(stage):
            try:
                STAGE_FUNCTIONS[stage](run)
            except NumericalError as error:
                raise run.dump(error) from error
            run.position.enter(stage)
            run.forget_earlier_end(stage)
            run.evaluate(stage, stage, run.config.eval_episodes)
            diagnose(run, stage)
            run.save()
    if found := run.held_out.in_words():
        run.progress.say(found)
