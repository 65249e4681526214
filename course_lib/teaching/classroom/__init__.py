"""Running a class: the notebooks that students get, what they hand in and its points, files for graders, and exams."""
