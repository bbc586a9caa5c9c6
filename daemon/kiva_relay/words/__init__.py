"""The words for the coordinator, in her language: sentences out of values. Codes are stored, sentences never."""
