"""What keeps the flows running on a machine: schedules, recovery after a hard stop, servers, status and diagnosis.

It stands above the flows, and is the only place besides them that knows Prefect.
"""
