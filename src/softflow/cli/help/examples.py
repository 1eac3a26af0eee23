"""What one wants → the command that does it, for the help of every command; a test parses each."""

from __future__ import annotations

EXAMPLES: dict[str, dict[str, str]] = {
    "demo": {
        "ten minutes on a simulated task": "softflow demo",
        "another task, in another folder": "softflow demo --env scene --run runs/scene",
    },
    "collect": {
        "demonstrations of a simulated task": (
            "softflow collect --env cube-single --out data/cube --episodes 120"
        ),
        "with cameras": "softflow collect --env lift --out data/lift --image-size 84 84",
        "20 episodes by one who is fast": (
            "softflow collect --env cube-single --operator swift --episodes 20 --out data/swift"
        ),
    },
    "train": {
        "all four stages, with success rates, where the data come from a simulator": (
            "softflow train softflow-plus --dataset data/cube --run runs/cube"
        ),
        "imported data of a robot, from the state; with cameras: small-image": (
            "softflow train softflow-plus --dataset data/mine --run runs/mine --stages imitation"
        ),
        "fine-tune its networks on other data": (
            "softflow train softflow-plus --from runs/mine --dataset data/new --run runs/tuned "
            "--stages imitation --imitation.num-updates 400"
        ),
        "go on: the same command, here with more updates and another stage": (
            "softflow train softflow-plus --dataset data/mine --run runs/mine "
            "--stages imitation critic_warmup --imitation.num-updates 8000"
        ),
        "four seeds side by side, compared on one page": (
            "softflow train softflow-plus --dataset data/cube --run runs/seeds --seeds 4"
        ),
    },
    "evaluate": {
        "the newest checkpoint of a run": "softflow evaluate runs/cube --episodes 200",
        "… as if every decision came 100 to 150 ms late": (
            "softflow evaluate runs/cube --latency-ms 100 150"
        ),
    },
    "report": {
        "one run, also while it trains": "softflow report runs/cube",
        "several, compared": "softflow report runs/cube runs/cube2 --out comparison.html",
    },
    "learn": {
        "in rounds, for which robots wait": "softflow learn runs/mine --exchange /mnt/exchange",
        "while they go on, every episode looked at by a person first": (
            "softflow learn runs/mine --exchange /mnt/exchange --continuous --review"
        ),
    },
    "serve": {
        "for programs on this machine": "softflow serve runs/mine",
        "for robots on others": "softflow serve runs/mine --host 0.0.0.0 --token-file token",
    },
    "teacher train": {
        "a teacher, in a quarter of an hour": "softflow teacher train --run runs/teacher"
    },
    "teacher evaluate": {"on other physics": "softflow teacher evaluate runs/teacher --seed 1"},
    "teacher distill": {
        "a student of it": "softflow teacher distill runs/teacher --run runs/student",
        "… for a hand that differs more": (
            "softflow teacher distill runs/teacher --run runs/student "
            "--env-id orca-cube-twin-task125"
        ),
        "… with other numbers of another preset": (
            "softflow teacher distill softflow-plus runs/teacher --run runs/student "
            "--distill.iterations 60"
        ),
    },
    "teacher grasps": {
        "for a hand of your own": ("softflow teacher grasps --hand mine:HAND --out grasps.npz")
    },
    "exchange show": {"what is there": "softflow exchange show /mnt/exchange"},
    "exchange stop": {"robots stand still": "softflow exchange stop /mnt/exchange --author ana"},
    "exchange start": {"they go on": "softflow exchange start /mnt/exchange --author ana"},
    "exchange discard": {
        "somebody walked through": (
            "softflow exchange discard /mnt/exchange arm-000012 --author ana"
        ),
    },
    "exchange accept": {
        "a good one": "softflow exchange accept /mnt/exchange arm-000012 --author ana"
    },
    "exchange label": {
        "the goal was reached by control step 84": (
            "softflow exchange label /mnt/exchange arm-000012 --success 84 --author ana"
        ),
    },
    "data inspect": {
        "the store": "softflow data inspect data/mine",
        "one episode": "softflow data inspect data/mine --episode 3",
    },
    "data validate": {
        "every problem": "softflow data validate data/mine",
        "with the speed limits of the robot": (
            "softflow data validate data/mine --max-rate observation.state=2.5 action=20"
        ),
    },
    "data stats": {"as tables": "softflow data stats data/mine"},
    "data merge": {
        "two into a new one": "softflow data merge data/both data/monday data/tuesday",
    },
    "data filter": {
        "the successes of two operators": (
            "softflow data filter data/mine data/good --success --operator ana ben"
        ),
        "how many would be left": (
            "softflow data filter data/mine data/short --max-length 200 --dry-run"
        ),
    },
    "data relabel": {
        "by a rule, shown": (
            'softflow data relabel data/mine --success-when "observation.state[3]>0.5"'
        ),
        "by a table, written": "softflow data relabel data/mine --table labels.csv --write",
        "all of them succeeded": (
            "softflow data relabel data/mine --success-at-end --annotator ana --write"
        ),
    },
    "data propose": {
        "what a rule says, held against the labels that are there": (
            "softflow data propose data/mine --with gripper-lifted --measure"
        ),
        "for every episode without a label": "softflow data propose data/mine --with classifier",
    },
    "data agreement": {"of all annotators": "softflow data agreement data/mine"},
    "data bounds": {
        "those of an environment": "softflow data bounds data/mine --env-id adroit-door",
        "of one that was renamed, or meant": (
            "softflow data bounds data/mine --env-id my_package.tasks:make --replace-env"
        ),
        "numbers, one for all components": (
            "softflow data bounds data/mine --action-low -1 --action-high 1"
        ),
    },
    "data plot": {
        "a page": "softflow data plot data/mine",
        "… with what the networks see": (
            "softflow data plot data/mine --preset small-image --shift 4"
        ),
    },
    "data render": {
        "RoboMimic's states, seen by two cameras": (
            "softflow data render lift/mh/image_v15.hdf5 data/lift --env-id lift --size 84 84"
        ),
        "softflow's own": "softflow data render data/cube data/cube_seen --size 84 84",
    },
    "data import robomimic": {
        "from the state": (
            "softflow data import robomimic lift/ph/low_dim_v15.hdf5 --out data/lift --env-id lift"
        ),
        "from cameras": (
            "softflow data import robomimic lift/ph/image_v15.hdf5 --out data/lift_seen "
            "--cameras agentview_image robot0_eye_in_hand_image"
        ),
    },
    "data import lerobot": {
        "recordings that say nothing of success, all of them good": (
            "softflow data import lerobot ~/lerobot/my_task --out data/mine --unlabelled success"
        ),
        "what is wrong with them; nothing is written": (
            "softflow data import lerobot ~/lerobot/my_task --check"
        ),
        "smaller pictures, for an environment of your own": (
            "softflow data import lerobot ~/lerobot/my_task --out data/mine --image-size 224 224 "
            "--env-id my_package.my_robot:make"
        ),
    },
    "data import minari": {
        "a dataset that Minari has downloaded": (
            "softflow data import minari ~/.minari/datasets/D4RL/door/human-v2 --out data/door"
        ),
    },
    "data import d4rl": {
        "a file of D4RL": (
            "softflow data import d4rl door-human-v1.hdf5 --out data/door --env-id adroit-door"
        ),
    },
    "data import umi": {
        "a replay buffer, all of it good": (
            "softflow data import umi cup.zarr.zip --out data/cup --unlabelled success"
        ),
    },
    "data import act": {
        "a folder of episodes, all of them good": (
            "softflow data import act aloha/my_task --out data/mine --unlabelled success"
        ),
    },
    "data import rosbag": {
        "what the bags hold": ("softflow data import rosbag bags --mapping mapping.yaml --report"),
        "all of them": (
            "softflow data import rosbag bags --mapping mapping.yaml --out data/mine "
            "--unlabelled success"
        ),
    },
    "data export lerobot": {
        "with videos": "softflow data export lerobot data/mine ~/lerobot/mine --robot-type franka",
    },
    "data export robomimic": {
        "one file": "softflow data export robomimic data/mine mine.hdf5",
    },
}
"""Commands without "softflow" → wish → words; `robot` has its own in what it says of itself."""
