# Both steps for each document of the working directory (ID.new.json), each a job in a process of its own.
IDS = glob_wildcards('{id}.new.json').id


rule all:
    input:
        expand('{id}.signal_processing.json', id=IDS),


rule move_to_sps:
    input:
        '{id}.new.json',
    output:
        '{id}.move_to_sps.json',
    shell:
        'python -m bench.contenders.snakemake_step move_to_sps {input} {output}'


rule signal_processing:
    input:
        '{id}.move_to_sps.json',
    output:
        '{id}.signal_processing.json',
    shell:
        'python -m bench.contenders.snakemake_step signal_processing {input} {output}'
