"""The outbox of messages to be sent later, and the store of payloads too large for SQS."""
