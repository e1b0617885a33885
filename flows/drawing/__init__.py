"""Pictures of workflows and of their executions: for a terminal, as SVG, as Mermaid."""
