import random

SEEN = ["beat the block with {A}", "use {a} and {A}", "hit the block", "x" * 60 + " " + "y" * 60]
UNSEEN = ["strike the block with {A}"]


def generate_episode_descriptions(task_name, episodes, max_descriptions=1000000):
    found = []
    for index, episode in enumerate(episodes):
        if not episode:
            continue
        filled = {}
        for split, templates in (("seen", list(SEEN)), ("unseen", list(UNSEEN))):
            random.shuffle(templates)
            for key, value in episode.items():
                word = random.choice(["hammer", "mallet"]) if "/" in value else f"{value} arm"
                templates = [text.replace(key, f"the {word}") for text in templates]
            filled[split] = templates[:max_descriptions]
        found.append({"episode_index": index, **filled})
    return found
