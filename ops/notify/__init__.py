"""`signalq notify`: what needs a person, sent to the services that a person looks at."""
