"""The whole corpus on Ray, one machine or many: shards go out as plain tasks, results come back as small dicts.

options.py    what is asked for, as stages
schedule.py   which shard of which stage is next, what was retried, what is set aside. Knows nothing of Ray
work.py       what runs on a worker
train.py      the trainer, through Ray Train
metrics_actor.py  an actor that adds up what the workers report, for the live view and for Prometheus
nodes.py      joins the cluster; what its nodes have
run.py        drives the schedule with ray.wait
live.py       the live view, or plain lines where there is no terminal
"""
