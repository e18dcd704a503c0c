"""The commands of `alignment-limits`, in modules by topic."""
