"""A vision-language model proposes events: any server that speaks the OpenAI chat interface."""
