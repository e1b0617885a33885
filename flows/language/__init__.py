"""What a workflow says: its definition, its steps, its YAML with lines, and what can be checked before it runs."""
