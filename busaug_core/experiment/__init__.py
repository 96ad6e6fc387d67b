"""Chains of jobs that answer a question: arms, what is trained and measured for each, and the table of results."""
