"""What test-infra and test-services assert: facts in, findings out."""
