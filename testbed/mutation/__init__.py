"""Mutants of what decides: does a test notice when a line of capture, outbox or delivery says something else?"""
