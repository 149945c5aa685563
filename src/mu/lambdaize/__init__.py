"""From an executable to a Lambda function: its settings, what it needs, the package, and Lambda's side."""
