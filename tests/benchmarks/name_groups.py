"""Groups of LFW's people by their names, for want of labels.

Judged from the names alone, by one reader: a name says neither how a face looks nor what anybody
is. Names that fit no list are among the others, and so are ambiguous ones.
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


EAST_ASIAN = _names("""
    Annette_Lu Candie_Kung Carina_Lau_Ka-ling Cecilia_Cheung Chen_Tsai-chin Cho_Myung-kyun
    Choi_Sung-hong Choi_Yun-yong Chung_Mong-hun Chyung_Dai-chul David_Ho Du_Qinglin Edward_Lu
    Elva_Hsiao Frank_Hsieh Fujio_Cho Fujio_Mitarai Goh_Kun Hee-Won_Han Heizo_Takenaka Hideki_Matsui
    Hiroki_Gomi Hiroyuki_Yoshino Hisao_Oguchi Hitoshi_Tanaka Hung_Wan-ting Jacky_Cheung
    Jeong_Se-hyun Jim_Wong Jong_Wook_Lee Junichi_Inamoto Junichiro_Koizumi Keiko_Sofia_Fujimori
    Ken_Kutaragi Ken_Watanabe Kim_Dae-jung Kim_Jong-Il Kim_Ryong-sung Kim_Su_Nam Koichi_Haraguchi
    Kurt_Tanabe Kyoko_Nakayama Lee_Byung-woong Lee_Chang-dong Lee_Hoi-chang Lee_Hyung-taik
    Lee_Soo-hyuck Lee_Tae-sik Lee_Yuan-tseh Leon_Lai Li_Ka-shing Li_Peng Li_Ruihuan Lim_Dong-won
    Lin_Yi-fu Lin_Yung_Hsi Liu_Mingkang Liu_Ye Lucy_Liu Luo_Linquan Lydia_Shum Masahiko_Nagasawa
    Masao_Azuma Mayumi_Moriyama Michael_Chang Michelle_Kwan Nan_Wang Naoto_Kan Nobuyuki_Idei
    Norman_Mineta Park_Jung_Sung Peter_Chan Princess_Hisako Princess_Masako Ronald_Ito SJ_Twu
    Sachiko_Yamada San_Lan Shi_Guangsheng Shigeru_Ishiba Sim_Yong Simon_Yam Stanley_Ho Stanley_Tong
    Sun_Myung_Moon Takahiro_Mori Takashi_Sorimachi Takeshi_Kitano Tang_Jiaxuan Tatsuya_Fuji
    Teruaki_Masumoto Terunobu_Maeda Tian_Liang Tomomi_Morita Tsutomu_Takebe Wan_Yanhai Wang_Hailan
    Wang_Nan Wang_Yi Wen_Jiabao Yao_Ming Yoon_Won-Sik Yoshiyuki_Kamei Yu_Shyi-kun Yukiko_Okudo
    Yukio_Hatoyama Yusaku_Miyazato Zhang_Yimou
""")

MIDDLE_EASTERN = _names("""
    Abbas_Kiarostami Abdullah_Gul Abdullah_Nasseef Abid_Hamid_Mahmud_Al-Tikriti Ahmad_Jbarah
    Ahmed_Ibrahim_Bilal Ahmed_Qureia Akbar_Hashemi_Rafsanjani Ali_Abdullah_Saleh Ali_Bin_Hussein
    Ali_Khamenei Amer_al-Saadi Assad_Ahmadi Azra_Akin Bijan_Darvish Bulent_Ecevit
    Bustam_A_Zedan_Aljanabi Dyab_Abou_Jahjah Farouk_al-Sharaa Fayssal_Mekdad Ghassan_Elashi
    Hamid_Karzai Hana_Makhmalbaf Hanan_Ashrawi Hassan_Nasrallah Haydar_Aliyev Hedayat_Amin_Arsala
    Hoda_Asfor Hussam_Mohammed_Amin Ibrahim_Al-Marashi Ibrahim_Jaafari Ishaq_Shahryar
    Ismail_Abu_Shanab Ismail_Cem Ismail_Khan Jawad_Boulus Kemal_Dervis Khader_Rashid_Rahim
    Khatol_Mohammad_Zai Kifah_Ajouri King_Abdullah_II Lima_Azimi Maha_Habib Mahdi_Al_Bassam
    Mahmoud_Abbas Makiya_Ali_Hassan Mamdouh_Habib Manijeh_Hekmat Massoud_Barzani Masum_Turker
    Mehmet_Ali_Sahin Mehmet_Okur Mikhail_Wehbe Mohamed_Benaissa Mohammad_Aktar
    Mohammed_Baqir_al-Hakim Mohammed_Dahlan Mohammed_Salmane Muammar_Gaddafi Naji_Sabri
    Nasser_al-Kidwa Omar_Sharif Osama_bin_Laden Rafiq_Hariri Raghad_Saddam_Hussein
    Sabah_Al-Ahmad_Al-Jaber_Al-Sabah Sadam_Hassan Saddam_Hussein Saeb_Erekat Saeed_Mortazavi
    Saied_Hadi_al_Mudarissi Sheikh_Ahmed_Yassin Sureyya_Ayhan Taoufik_Mathlouthi Uday_Hussein
    Vecdi_Gonul Walid_Al-Awadi Yasein_Taher Zalmay_Khalilzad
""")

SOUTH_ASIAN = _names("""
    Ajit_Agarkar Anwar_Ibrahim Asif_Ali_Zardari Atal_Bihari_Vajpayee Begum_Khaleda_Zia
    Benazir_Bhutto Brajesh_Mishra Chandrika_Kumaratunga Chea_Sophara Deepa_Mehta Din_Samsudin
    Erwin_Mapasseng Faisal_Saleh_Hayat Farida_Ragoonanan GL_Peiris Gloria_Macapagal_Arroyo
    Hasan_Wirayuda Hassanal_Bolkiah Herb_Dhaliwal Imam_Samudra Irfan_Ahmed Ismail_Merchant
    Krishna_Bhadur_Mahara Mahathir_Mohamad Makhdoom_Amin_Fahim Mian_Khursheed_Mehmood_Kasuri
    Mukesh_Ambani Narendra_Modi Noer_Muis Nong_Duc_Manh Nur_Jaafar Pervez_Musharraf
    Qazi_Hussain_Ahmed Rafeeuddin_Ahmed Raja_Ibrahim Raja_Zafar-ul-Haq Ranil_Wickremasinghe
    Rashid_Qureshi Ratna_Sari_Dewi_Sukarno Raza_Rabbani Rohman_al-Ghozi Salman_Khan Salman_Rushdie
    Sam_Bith Satnarine_Sharma Sourav_Ganguly Susilo_Bambang_Yudhoyono Taufik_Hidayat Tono_Suratman
    Win_Aung Zafarullah_Khan_Jamali Zaini_Abdullah
""")

# Given names of women; a few of these people may be men.
_WOMENS_NAMES = _names("""
    Afton Alanna Alberta Alexandra Alice Alicia Aline Allison Ally Allyson Amanda Amelie Amy Ana
    Anastasia Angela Angelica Angelina Angie Anita Anna Anne Anneli Annette Annie-Jeanne Aretha
    Arianna Arsinee Ashanti Ashley Astrid Azra Barbara Beatrice Begum Benazir Bernadette Beth Betsy
    Betty Bianca Blythe Brenda Brigitte Britney Brooke Camilla Camille Candice Candie Carey Carin
    Carina Carmen Carol Carolina Carolyn Catherine Cathy Cecilia Celine Chanda Chandrika Chante
    Charlotte Cheryl Chita Chloe Christina Christine Cindy Claire Clara Conchita Constance Coretta
    Cori Corinne Courtney Cristina Cyndi Daisy Daniela Darla Dawn Dawna Deb Debbie Debra Deepa Demi
    Denise Desiree Diana Diane Dionne Dita Donna Doris Edith Eileen Elena Eliane Elinor Eliza
    Elizabeth Ellen Elsa Elva Emelie Emily Emma Erika Erin Eva Evelyn Farida Faye Felicity Fiona
    Flavia Flor Fran Freda Gabriella Gabrielle Georgia Georgina Giannina Gillian Gina Gisele Giselle
    Gloria Goldie Grace Gunilla Gwen Gwyneth Halle Hana Hanan Harriet Heather Heidi Helen Helo
    Hestrie Hoda Ingrid Irina Isabel Isabela Isabella Isabelle Iva Jacqueline Jade Jana Jane Janet
    Janice Janine Janis Jeanne Jenna Jennifer Jessica Jewel JK Jodie Joy Judith Judy Julia Julianna
    Julie Juliette Juljia Justine Kara Karen Karin Kate Kathie Kathleen Kathy Katie Katrin Kay Keiko
    Kelli Kellie Khatol Kimora Kirsten Kristen Kristin Kyoko Kyra Laila Lana Lara Laura Laurel
    Lauren Laurie Lena Lesia Lesley Leticia Liliana Lily Lima Linda Lindsay Lisa Liv Lois Lorraine
    Louisa Lucy Ludivine Lydia Lynn Lynne Madonna Magdalena Maggie Maha Manijeh Manuela Margaret
    Maria Mariah Mariana Mariangel Maribel Marie-Josee Marilyn Marina Marissa Marta Martha Martina
    Mary Maryn Mathilda Maura Mayumi Megan Melissa Michelle Minnie Miranda Mireille Mireya Misty
    Monica Nadine Nancy Naomi Nastassia Nastia Natalie Natasha Nathalie Nia Nicole Nicoletta Nora
    Nova Olene Olesya Oracene Oxana Patricia Patsy Patti Patty Paula Pauley Pauline Penelope Penny
    Peri Pernilla Petria Picabo Princess Priscilla Queen Rachel Raghad Ratna Renee Rina Rosario Ruth
    Sachiko Sadie Sally Salma Samantha Sandra Sara Sarah Selma Shanna Sharess Sheila Sherri
    Sigourney Silvia Silvie Sonja Stacey Stacy Steffi Stella Sue Sureyya Susan Susie Suzanne Suzie
    Taia Talisa Tamara Tanya Tara Tatiana Tatyana Teresa Teri Tessa Tina Tracee Trudi Tyra Valerie
    Vanessa Veronica Victoria Yekaterina Yukiko
""")
_WOMEN_TOO = _names("""
    Chen_Tsai-chin Drew_Barrymore Hee-Won_Han Jaime_Pressly Jamie_Lee_Curtis Joan_Claybrook
    Joan_Jett Kim_Clijsters Leslie_Ann_Woodward Lee_Ann_Terlaji Mother_Teresa Terri_Clark
""")


def is_womans(name: str) -> bool:
    """Whether the given name is a woman's."""
    return name.split("_")[0] in _WOMENS_NAMES or name in _WOMEN_TOO


def groups_of(name: str) -> set[str]:
    """The groups that LFW's name is in."""
    origins = {
        "East Asian names": EAST_ASIAN, "Middle Eastern names": MIDDLE_EASTERN,
        "South and South-East Asian names": SOUTH_ASIAN,
    }
    found = {group for group, names in origins.items() if name in names} or {"other names"}
    given = "women's names" if is_womans(name) else "other given names, mostly men's"
    found |= {"all", given}
    if name in EAST_ASIAN:
        found.add(f"East Asian, {given.split(',')[0]}")
    return found
