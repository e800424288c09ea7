"""What Prometheus, Alertmanager and Grafana need to watch fastsmtp.

    python -m grafana     writes dashboards/*.json from overview.py, queue.py, store.py
    rules/                recording and alert rules; docs/runbooks has a page for each
    provisioning/         what Grafana finds at its start
    compose.yaml          all three of them, ready

`panels` has the words that the dashboards are written in.
"""
