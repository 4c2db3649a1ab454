"""What judges images: the protocol of a critic, requests and verdicts, critics, metrics."""
