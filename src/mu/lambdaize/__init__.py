"""Makes a Lambda function from an executable: its settings, its needs, the package, and the calls to Lambda."""
