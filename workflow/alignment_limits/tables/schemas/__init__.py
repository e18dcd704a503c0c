"""The tables' contracts: a public interface, names and units fixed."""
