"""The tables' contracts. They are a public interface: names and units do not change."""
