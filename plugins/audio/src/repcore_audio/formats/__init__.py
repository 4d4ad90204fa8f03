"""How sound lies in files: libsndfile's formats, containers that need FFmpeg, and what headers promise."""
