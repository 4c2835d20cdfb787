"""Clients of AWS, the one wrapper of DynamoDB, SQS entries, and the table of AWS's error codes."""
