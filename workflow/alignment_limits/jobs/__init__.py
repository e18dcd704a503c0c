"""What all jobs of the workflow share: records, logs, fingerprints of code, Slurm."""
