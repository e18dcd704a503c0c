"""What every job of the workflow does around its work: files, records, logs, fingerprints of its code, Slurm."""
