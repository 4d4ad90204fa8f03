"""Operations of the audio domain: each folder holds a definition, faster twins and the cases on which they agree."""
