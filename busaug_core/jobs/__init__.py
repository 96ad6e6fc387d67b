"""What makes a function a job: config, events, run folder, lineage, roles, processes."""
