"""Distillation of trained runs into one student (Actor-Mimic): teachers, lesson, scores."""
